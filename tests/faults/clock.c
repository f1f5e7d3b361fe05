/* An LD_PRELOAD shim that sets a process's clock: the file CLOCK_AHEAD holds by how many seconds (8 bytes), and is read
   at each call. The monotonic clock goes on as ever. (libfaketime makes Python's sleeps fail with EINVAL.) */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile int64_t *ahead;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void look_up(void)
{
    int fd = open(getenv("CLOCK_AHEAD"), O_RDONLY);
    ahead = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = real_clock_gettime(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *ahead;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec real;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &real))
        return -1;
    now->tv_sec = real.tv_sec;
    now->tv_usec = real.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *there)
{
    struct timespec real;
    clock_gettime(CLOCK_REALTIME, &real);
    if (there)
        *there = real.tv_sec;
    return real.tv_sec;
}
