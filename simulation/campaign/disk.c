/* A disk and a clock with faults, below a process that is started with LD_PRELOAD.
 *
 * FAULT_SWITCHES names the file of simulation/switchboard.py ("name value" per line). It is read again at most
 * every 5 ms. Only files whose path contains FAULT_JOURNAL or FAULT_IMAGES are touched.
 *
 *   disk-sync-s S        a sync takes S seconds longer      disk-eio 1        writes and syncs fail with EIO
 *   disk-full 1          writes fail with ENOSPC            images-full 1     writes of pictures do
 *   clock-jump-s S       the wall clock differs by S seconds
 *
 * FAULT_KILL_AT N kills the process (SIGKILL) before its Nth write, sync, rename or removal below FAULT_JOURNAL.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static double sync_s, eio, full, images_full, jump_s;

static void look(void)
{
    static struct timespec last;
    static int (*get)(clockid_t, struct timespec *);
    struct timespec now;
    char line[128], name[64];
    double value;
    if (!get) get = dlsym(RTLD_NEXT, "clock_gettime");
    get(CLOCK_MONOTONIC, &now);
    if ((now.tv_sec - last.tv_sec) * 1000000000LL + now.tv_nsec - last.tv_nsec < 5000000) return;
    last = now;
    const char *path = getenv("FAULT_SWITCHES");
    FILE *file = path ? fopen(path, "r") : NULL;
    double s = 0, e = 0, f = 0, i = 0, j = 0;
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%63s %lf", name, &value) != 2) continue;
        if (!strcmp(name, "disk-sync-s")) s = value;
        if (!strcmp(name, "disk-eio")) e = value;
        if (!strcmp(name, "disk-full")) f = value;
        if (!strcmp(name, "images-full")) i = value;
        if (!strcmp(name, "clock-jump-s")) j = value;
    }
    if (file) fclose(file);
    sync_s = s, eio = e, full = f, images_full = i, jump_s = j;
}

static int is_of(int fd, const char *variable)
{
    char link[64], path[4096];
    const char *wanted = getenv(variable);
    if (!wanted) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strstr(path, wanted) != NULL;
}

static void one_step_more(void)
{
    static long steps;
    const char *last = getenv("FAULT_KILL_AT");
    if (last && ++steps == atol(last)) kill(getpid(), SIGKILL);
}

static void step_below(const char *path)
{
    const char *wanted = getenv("FAULT_JOURNAL");
    if (wanted && strstr(path, wanted)) one_step_more();
}

static int fails_to_write(int fd)
{
    look();
    if (getenv("FAULT_KILL_AT") && is_of(fd, "FAULT_JOURNAL")) one_step_more();
    if (eio == 0 && full == 0 && images_full == 0) return 0;
    if ((eio || full) && is_of(fd, "FAULT_JOURNAL")) return eio ? EIO : ENOSPC;
    if (images_full && is_of(fd, "FAULT_IMAGES")) return ENOSPC;
    return 0;
}

static int slow_or_failed(int fd)
{
    look();
    if (getenv("FAULT_KILL_AT") && is_of(fd, "FAULT_JOURNAL")) one_step_more();
    if ((sync_s || eio) && is_of(fd, "FAULT_JOURNAL")) {
        if (eio) return EIO;
        struct timespec wait = {(time_t)sync_s, (long)((sync_s - (time_t)sync_s) * 1e9)};
        nanosleep(&wait, NULL);
    }
    return 0;
}

#define REAL(name) static typeof(&name) real; if (!real) real = (typeof(&name))dlsym(RTLD_NEXT, #name)
#define FAILED(error) do { int failed = (error); if (failed) { errno = failed; return -1; } } while (0)

int rename(const char *from, const char *to) { REAL(rename); step_below(to); return real(from, to); }
int unlink(const char *path) { REAL(unlink); step_below(path); return real(path); }
int fsync(int fd) { REAL(fsync); FAILED(slow_or_failed(fd)); return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); FAILED(slow_or_failed(fd)); return real(fd); }
ssize_t write(int fd, const void *data, size_t size) { REAL(write); FAILED(fails_to_write(fd)); return real(fd, data, size); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { REAL(pwrite); FAILED(fails_to_write(fd)); return real(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { REAL(pwrite64); FAILED(fails_to_write(fd)); return real(fd, data, size, at); }
ssize_t writev(int fd, const struct iovec *parts, int count) { REAL(writev); FAILED(fails_to_write(fd)); return real(fd, parts, count); }

int clock_gettime(clockid_t clock, struct timespec *now)
{
    REAL(clock_gettime);
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME && result == 0) {
        look();
        now->tv_sec += (time_t)jump_s;
    }
    return result;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
