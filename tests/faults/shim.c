/* An LD_PRELOAD shim between SQLite and the kernel, for the databases in the folder SHIM_FILES.

   Power loss: every write is applied as usual, and what it overwrote is kept until the file is synced. Once SHIM_LOSE
   exists (a path), the next call takes everything back that was not synced, and the process ends: that is what a disk
   holds that keeps only what it was told to keep.

   Errors: the SHIM_AT-th call of kind SHIM_CALL (write or sync), counted over all those files, and the SHIM_TIMES - 1
   calls after it, fail with SHIM_ERRNO. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct undo {
    struct undo *before;
    char path[PATH_MAX];
    off_t offset, old_size;
    size_t had;
    char old[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct undo *last;
static long calls;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);

__attribute__((constructor)) static void look_up(void)
{
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_pread = dlsym(RTLD_NEXT, "pread64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
}

/* The file's path if it is one of ours. The shared memory beside a WAL is no file on the disk that has to survive. */
static int is_ours(int fd, char *path)
{
    const char *files = getenv("SHIM_FILES");
    char link[64];
    if (!files)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return strncmp(path, files, strlen(files)) == 0 && strstr(path, ".db") && !strstr(path, "-shm") && !strstr(path, ".lock");
}

static int is_to_fail(const char *kind)
{
    const char *call = getenv("SHIM_CALL");
    if (!call || strcmp(call, kind))
        return 0;
    long at = atol(getenv("SHIM_AT")), times = atol(getenv("SHIM_TIMES")), number = ++calls;
    if (number < at || number >= at + times)
        return 0;
    errno = atoi(getenv("SHIM_ERRNO"));
    return 1;
}

static void lose_power(void)
{
    const char *lose = getenv("SHIM_LOSE");
    if (!lose || access(lose, F_OK))
        return;
    for (; last; last = last->before) {
        int fd = open(last->path, O_RDWR);
        if (fd < 0)
            continue;
        if (last->had)
            real_pwrite(fd, last->old, last->had, last->offset);
        real_ftruncate(fd, last->old_size);
        close(fd);
    }
    _exit(77);
}

static void keep(int fd, const char *path, off_t offset, size_t size)
{
    struct stat there;
    if (!getenv("SHIM_LOSE") || fstat(fd, &there))
        return;
    struct undo *one = malloc(sizeof *one + size);
    ssize_t had = real_pread(fd, one->old, size, offset);
    one->had = had > 0 ? had : 0;
    one->offset = offset;
    one->old_size = there.st_size;
    strcpy(one->path, path);
    one->before = last;
    last = one;
}

static void synced(const char *path)
{
    for (struct undo **at = &last; *at;) {
        struct undo *one = *at;
        if (strcmp(one->path, path)) {
            at = &one->before;
            continue;
        }
        *at = one->before;
        free(one);
    }
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset)
{
    char path[PATH_MAX];
    if (!is_ours(fd, path))
        return real_pwrite(fd, data, size, offset);
    pthread_mutex_lock(&lock);
    lose_power();
    ssize_t done = -1;
    if (!is_to_fail("write")) {
        keep(fd, path, offset, size);
        done = real_pwrite(fd, data, size, offset);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return pwrite64(fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size)
{
    char path[PATH_MAX];
    if (!is_ours(fd, path))
        return real_write(fd, data, size);
    return pwrite64(fd, data, size, lseek(fd, 0, SEEK_CUR));
}

int ftruncate64(int fd, off_t size)
{
    char path[PATH_MAX];
    struct stat there;
    if (is_ours(fd, path) && !fstat(fd, &there)) {
        pthread_mutex_lock(&lock);
        lose_power();
        keep(fd, path, size, there.st_size > size ? there.st_size - size : 0);
        pthread_mutex_unlock(&lock);
    }
    return real_ftruncate(fd, size);
}

int ftruncate(int fd, off_t size)
{
    return ftruncate64(fd, size);
}

static int sync_file(int fd, int (*real)(int))
{
    char path[PATH_MAX];
    if (!is_ours(fd, path))
        return real(fd);
    pthread_mutex_lock(&lock);
    lose_power();
    int failed = is_to_fail("sync");
    if (!failed)
        synced(path);
    pthread_mutex_unlock(&lock);
    return failed ? -1 : real(fd);
}

int fsync(int fd)
{
    return sync_file(fd, real_fsync);
}

int fdatasync(int fd)
{
    return sync_file(fd, real_fdatasync);
}
