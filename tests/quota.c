/* A disk on which a user's quota is reached while the file QUOTA_REACHED is there: nothing more can be written below
   the directory QUOTA_ROOT; loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_reached(int descriptor)
{
    char link[64], path[4096];
    const char *root = getenv("QUOTA_ROOT"), *flag = getenv("QUOTA_REACHED");
    if (!root || !flag || access(flag, F_OK))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return !strncmp(path, root, strlen(root));
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset)
{
    static ssize_t (*original)(int, const void *, size_t, off64_t);
    if (!original)
        original = dlsym(RTLD_NEXT, "pwrite64");
    if (is_reached(descriptor)) {
        errno = EDQUOT;
        return -1;
    }
    return original(descriptor, bytes, count, offset);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset)
{
    return pwrite64(descriptor, bytes, count, offset);
}
