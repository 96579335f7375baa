/* Shows a process another wall clock: the true one and as many seconds more as the file named by CLOCK_OFFSET_FILE says.
 * For LD_PRELOAD. Monotonic clocks stay, as they do when a wall clock is set; so does what the C library reads for itself. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    const char *name = getenv("CLOCK_OFFSET_FILE");
    if (result != 0 || clock != CLOCK_REALTIME || !name) return result;
    FILE *file = fopen(name, "r");
    long seconds;
    if (file && fscanf(file, "%ld", &seconds) == 1) now->tv_sec += seconds;
    if (file) fclose(file);
    return result;
}
