/* SPDX-License-Identifier: Apache-2.0 */
/* pause, resume and ps: what is done with the container's cgroups. Plain code. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "container/machine.h"

/*
 * The cgroup by which the container is frozen: of the v1 freezer where there is one, as runc and
 * crun choose it on a host with both, else of v2. NULL: none.
 */
const char *container_freezer(const struct state_record *r)
{
    const char *found = NULL;

    for (size_t i = 0; i < r->made.n_cgroups; i++) {
        const struct made_cgroup *c = &r->made.cgroups[i];

        if (!c->leaf || !cgroup_has_freezer(c->path))
            continue;
        if (!cgroup_is_v2(c->path))
            return c->path;
        found = c->path;
    }
    return found;
}

int container_status(const char *dir, const struct state_record *r, pid_t *pid, int *pidfd,
                     struct err *e)
{
    int status = state_status(dir, r, pid, pidfd, e);
    const char *freezer = NULL;

    if (!r->isolation && (status == STATUS_CREATED || status == STATUS_RUNNING))
        freezer = container_freezer(r);
    /* Of a machine the monitor says it (machine_clients.c): the freezer is in there. */
    if (r->isolation && (status == STATUS_CREATED || status == STATUS_RUNNING)) {
        char path[4096];

        base_format(path, sizeof path, "%s/paused", dir);
        return faccessat(AT_FDCWD, path, F_OK, 0) == 0 ? STATUS_PAUSED : status;
    }
    return freezer && cgroup_is_frozen(freezer) ? STATUS_PAUSED : status;
}

void container_thaw(const struct state_record *r)
{
    const char *freezer = container_freezer(r);

    if (freezer && cgroup_is_frozen(freezer))
        cgroup_freeze(freezer, false, NULL);
}

int container_pause(const char *root, const char *id, struct arena *a, struct err *e)
{
    struct state_record rec;
    const char *dir, *freezer;
    pid_t pid;
    int r = container_find(root, id, a, &dir, &rec, e);

    if (r == 0)
        r = container_status(dir, &rec, &pid, NULL, e);
    if (r < 0)
        return r;
    if (r == STATUS_PAUSED)
        return err_set(e, 0, "container not running: it is paused");
    if (r != STATUS_RUNNING && r != STATUS_CREATED)
        return err_set(e, 0, "container not running");
    if (rec.isolation)
        return machine_freeze(dir, true, e);
    freezer = container_freezer(&rec);
    if (!freezer)
        return err_set(e, 0, "the container has no cgroup that can be frozen");
    return cgroup_freeze(freezer, true, e);
}

static int resume_machine(const char *dir, const struct state_record *rec, struct err *e)
{
    pid_t pid;
    int r = container_status(dir, rec, &pid, NULL, e);

    if (r >= 0 && r != STATUS_PAUSED)
        return err_set(e, 0, "container not paused");
    return r < 0 ? r : machine_freeze(dir, false, e);
}

/* Not by the status: when init was killed while it was paused, others may still be frozen. */
int container_resume(const char *root, const char *id, struct arena *a, struct err *e)
{
    struct state_record rec;
    const char *dir, *freezer;
    int r = container_find(root, id, a, &dir, &rec, e);

    if (r < 0)
        return r;
    if (rec.isolation)
        return resume_machine(dir, &rec, e);
    freezer = container_freezer(&rec);
    if (!freezer || !cgroup_is_frozen(freezer))
        return err_set(e, 0, "container not paused");
    return cgroup_freeze(freezer, false, e);
}

/*
 * Every process of the container is in all of its cgroups. The one with a freezer is preferred: who
 * signals them all wants them to stand still meanwhile.
 */
const char *container_cgroup_of_all(const struct state_record *r)
{
    const char *found = container_freezer(r);

    for (size_t i = 0; i < r->made.n_cgroups && !found; i++)
        if (r->made.cgroups[i].leaf)
            found = r->made.cgroups[i].path;
    return found;
}

int container_pids(const char *root, const char *id, struct arena *a, pid_t **pids, size_t *n,
                   struct err *e)
{
    struct state_record rec;
    const char *dir, *cgroup;
    pid_t pid;
    int r = container_find(root, id, a, &dir, &rec, e);

    if (r < 0)
        return r;
    cgroup = rec.isolation ? NULL : container_cgroup_of_all(&rec);
    if (cgroup)
        return cgroup_pids(cgroup, a, pids, n, e);
    /* Without a cgroup (an ordinary user's) nobody knows of more than init. */
    *n = 0;
    *pids = arena_array(a, 1, sizeof **pids);
    r = state_status(dir, &rec, &pid, NULL, e);
    if (r >= 0 && pid > 0 && rec.isolation)
        return machine_pids(dir, a, pids, n, e);
    if (r >= 0 && pid > 0)
        (*pids)[(*n)++] = pid;
    return r < 0 ? r : 0;
}
