/* An LD_PRELOAD shim: a process may have as many threads as the file THREADS_FILE says, the first one included, as if the
   system's limit of processes and threads were that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct begin {
    void *(*function)(void *);
    void *argument;
};

static int threads = 1;

static void end(void *begin)
{
    free(begin);
    __atomic_sub_fetch(&threads, 1, __ATOMIC_SEQ_CST);
}

static void *run(void *argument)
{
    struct begin *begin = argument;
    void *result;
    pthread_cleanup_push(end, begin);
    result = begin->function(begin->argument);
    pthread_cleanup_pop(1);
    return result;
}

static int most(void)
{
    const char *path = getenv("THREADS_FILE");
    FILE *file = path ? fopen(path, "r") : NULL;
    int number = 1 << 30;
    if (file) {
        if (fscanf(file, "%d", &number) != 1)
            number = 1 << 30;
        fclose(file);
    }
    return number;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *), void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    if (__atomic_add_fetch(&threads, 1, __ATOMIC_SEQ_CST) > most()) {
        __atomic_sub_fetch(&threads, 1, __ATOMIC_SEQ_CST);
        return EAGAIN;
    }
    struct begin *begin = malloc(sizeof *begin);
    begin->function = function;
    begin->argument = argument;
    int error = real(thread, attributes, run, begin);
    if (error)
        end(begin);
    return error;
}
