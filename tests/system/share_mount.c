/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file server of src/share without a virtual machine: this machine's kernel is its client, by
 * /dev/fuse, so that ordinary programs can be run on what it serves. For tests and measurements only.
 *
 *   share-mount [--threads N] [--cache auto|none|always] [--node-fds N] [--handles N]
 *               [--no-devices] [--trusted] [--confined] SOURCE TARGET
 *
 * Mounts, says "ready", serves until it is unmounted, and says what it held and cost as JSON; a line
 * on stdin asks for the same meanwhile. --confined: with no more capabilities than it needs.
 */
#include "share/share.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { THREADS_MAX = 64, BUFFER = SHARE_DATA_MAX + (1 << 16) };

/* CAP_SETFCAP for security.capability, CAP_SETPCAP for the secure bit of a worker; all below 32. */
static const unsigned needed[] = { CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,  CAP_FSETID, CAP_MKNOD,
                                   CAP_SETUID, CAP_SETGID,       CAP_SETFCAP, CAP_SETPCAP };

static struct share *server;
static int device;
static bool confined;

static void end(const char *what)
{
    perror(what);
    exit(1);
}

static void confine(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

    for (size_t i = 0; i < COUNT_OF(needed); i++)
        data[0].effective |= CAP_TO_MASK(needed[i]);
    data[0].permitted = data[0].effective;
    if (syscall(SYS_capset, &header, data) < 0)
        end("capset");
}

/* A read of /dev/fuse for each thread: a clone of the connection has a queue of its own. */
static int clone_device(void)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    uint32_t number = (uint32_t)device;

    if (fd < 0 || ioctl(fd, FUSE_DEV_IOC_CLONE, &number) < 0)
        end("FUSE_DEV_IOC_CLONE");
    return fd;
}

static uint8_t *buffer(void)
{
    uint8_t *at = mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED)
        end("mmap");
    return at;
}

static void *serve(void *unused)
{
    uint8_t *request = buffer(), *reply = buffer();
    int fd = clone_device();
    struct share_worker *w;
    struct err e = { 0 };

    (void)unused;
    if (share_worker_new(server, &w, &e) < 0) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    for (;;) {
        ssize_t n = read(fd, request, BUFFER);
        struct iovec in = { request, n > 0 ? (size_t)n : 0 }, out = { reply, BUFFER };
        size_t len;

        if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT))
            continue;
        if (n < 0) /* ENODEV: unmounted; ECONNABORTED */
            break;
        len = share_serve(w, &in, 1, &out, 1);
        /* ENOENT: the request was interrupted, nobody waits for it. */
        if (len > 0 && write(fd, reply, len) < 0 && errno != ENOENT && errno != ENODEV)
            perror("reply");
    }
    share_worker_free(w);
    munmap(request, BUFFER);
    munmap(reply, BUFFER);
    close(fd);
    return NULL;
}

static long field(const char *file, const char *name)
{
    FILE *f = fopen(file, "re");
    char line[256];
    long value = -1;

    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtol(line + strlen(name), NULL, 10);
    }
    if (f)
        fclose(f);
    return value;
}

static void report(void)
{
    struct share_stats st;

    share_describe(server, &st);
    printf("{\"nodes\": %u, \"nodeFds\": %u, \"handles\": %u, \"requests\": %llu, "
           "\"evictions\": %llu, \"pssKiB\": %ld, \"privateKiB\": %ld}\n",
           st.nodes, st.node_fds, st.handles, (unsigned long long)st.requests,
           (unsigned long long)st.evictions, field("/proc/self/smaps_rollup", "Pss:"),
           field("/proc/self/smaps_rollup", "Private_Dirty:"));
    fflush(stdout);
}

static void *reporter(void *unused)
{
    char line[16];

    (void)unused;
    while (fgets(line, sizeof(line), stdin))
        report();
    return NULL;
}

static enum share_cache cache_of(const char *word)
{
    if (strcmp(word, "none") == 0)
        return SHARE_CACHE_NONE;
    return strcmp(word, "always") == 0 ? SHARE_CACHE_ALWAYS : SHARE_CACHE_AUTO;
}

static unsigned options(int argc, char **argv, struct share_config *config, unsigned *threads)
{
    int i = 1;

    for (; i + 2 < argc; i++) {
        if (strcmp(argv[i], "--threads") == 0)
            *threads = (unsigned)atoi(argv[++i]);
        else if (strcmp(argv[i], "--cache") == 0)
            config->cache = cache_of(argv[++i]);
        else if (strcmp(argv[i], "--node-fds") == 0)
            config->max_node_fds = (unsigned)atoi(argv[++i]);
        else if (strcmp(argv[i], "--handles") == 0)
            config->max_handles = (unsigned)atoi(argv[++i]);
        else if (strcmp(argv[i], "--no-devices") == 0)
            config->devices = false;
        else if (strcmp(argv[i], "--trusted") == 0)
            config->trusted_xattrs = true;
        else if (strcmp(argv[i], "--confined") == 0)
            confined = true;
        else
            break;
    }
    if (i + 2 != argc || *threads < 1 || *threads > THREADS_MAX) {
        fprintf(stderr, "usage: share-mount [OPTIONS] SOURCE TARGET\n");
        exit(2);
    }
    return (unsigned)i;
}

static void mount_at(const char *target)
{
    char data[128];

    device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (device < 0)
        end("/dev/fuse");
    /* As virtio-fs mounts: the kernel decides by mode and owner, for every user. */
    snprintf(data, sizeof(data),
             "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", device);
    if (mount("share", target, "fuse.share", 0, data) < 0)
        end("mount");
}

int main(int argc, char **argv)
{
    struct share_config config = { .devices = true };
    pthread_t workers[THREADS_MAX], reports;
    struct err e = { 0 };
    unsigned threads = 1, at = options(argc, argv, &config, &threads);

    config.root_fd = open(argv[at], O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (config.root_fd < 0)
        end(argv[at]);
    if (share_new(&config, &server, &e) < 0) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    mount_at(argv[at + 1]);
    if (confined) /* before there are threads */
        confine();
    for (unsigned i = 0; i < threads; i++) {
        if (pthread_create(&workers[i], NULL, serve, NULL) != 0)
            end("pthread_create");
    }
    printf("ready\n");
    fflush(stdout);
    pthread_create(&reports, NULL, reporter, NULL);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(workers[i], NULL);
    report();
    share_free(server);
    return 0;
}
