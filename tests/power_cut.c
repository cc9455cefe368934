/* What a disk holds after a power cut: of each file and directory below POWER_CUT_ROOT its state at the last fsync.
 *
 * Loaded with LD_PRELOAD. fsync and fdatasync copy the file, or list the directory, into the directory POWER_CUT_DISK,
 * under a name of inode number and time of birth, since inode numbers are used again. power_cut.py reads it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_int copies;

static int identity(int directory, const char *path, int flags, char *name, size_t size)
{
    struct statx state;
    if (statx(directory, path, flags | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &state))
        return 0;
    snprintf(name, size, "%llu-%lld.%09u", (unsigned long long)state.stx_ino, (long long)state.stx_btime.tv_sec,
             state.stx_btime.tv_nsec);
    return state.stx_mode & S_IFMT;
}

static void die(const char *what)
{
    perror(what);
    abort();
}

static void put(int to, const char *bytes, ssize_t count)
{
    for (ssize_t done = 0; done < count;) {
        ssize_t written = write(to, bytes + done, count - done);
        if (written < 0)
            die("power_cut: write");
        done += written;
    }
}

static void copy_file(int from, int to)
{
    char buffer[1 << 16];
    ssize_t count;
    for (off_t at = 0; (count = pread(from, buffer, sizeof buffer, at)) > 0; at += count)
        put(to, buffer, count);
    if (count < 0)
        die("power_cut: pread");
}

static void copy_directory(const char *path, int to)
{
    DIR *entries = opendir(path);
    if (!entries)
        die("power_cut: opendir");
    for (struct dirent *entry; (entry = readdir(entries));) {
        char name[64], line[400];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        int kind = identity(dirfd(entries), entry->d_name, 0, name, sizeof name);
        if (kind)
            put(to, line, snprintf(line, sizeof line, "%s\t%s\t%s\n", name, entry->d_name,
                                     kind == S_IFDIR ? "directory" : "file"));
    }
    closedir(entries);
}

static int keep(int descriptor)
{
    const char *root = getenv("POWER_CUT_ROOT"), *disk = getenv("POWER_CUT_DISK");
    char link[64], path[4096], name[64], part[4400], whole[4400];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) {
        errno = EBADF;
        return -1;
    }
    path[length] = 0;
    if (!root || !disk || strncmp(path, root, strlen(root)))
        return 0;
    int kind = identity(descriptor, "", AT_EMPTY_PATH, name, sizeof name);
    snprintf(part, sizeof part, "%s/part-%d-%d", disk, getpid(), atomic_fetch_add(&copies, 1));
    snprintf(whole, sizeof whole, "%s/%s", disk, name);
    int to = open(part, O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (to < 0)
        die("power_cut: open");
    if (kind == S_IFDIR)
        copy_directory(path, to);
    else {
        int from = open(link, O_RDONLY); /* the descriptor may be for writing only */
        copy_file(from, to);
        close(from);
    }
    close(to);
    if (rename(part, whole))
        die("power_cut: rename");
    return 0;
}

int fsync(int descriptor) { return keep(descriptor); }

int fdatasync(int descriptor) { return keep(descriptor); }

__attribute__((constructor)) static void name_root(void)
{
    const char *root = getenv("POWER_CUT_ROOT"), *disk = getenv("POWER_CUT_DISK");
    char name[64], path[4400];
    if (!root || !disk)
        return;
    snprintf(path, sizeof path, "%s/root", disk);
    int file = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (file >= 0 && identity(AT_FDCWD, root, 0, name, sizeof name)) {
        put(file, name, strlen(name));
        close(file);
    }
}
