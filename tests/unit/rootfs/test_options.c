/* SPDX-License-Identifier: Apache-2.0 */
/* Every option of runtime-spec config.md "Linux mount options", and what is done with others. */
#include "plans.h"

enum { MAX_OPTIONS = 8 };

static struct spec_mount mount_with(const char *type, const char *const *options)
{
    struct spec_mount m = { .destination = "/x", .type = type, .source = "src" };

    m.options.v = options;
    while (options[m.options.n])
        m.options.n++;
    return m;
}

static void every_option_of_the_spec_is_known(void **state)
{
    static const char *const names[] = {
        "async",
        "atime",
        "bind",
        "defaults",
        "dev",
        "diratime",
        "dirsync",
        "exec",
        "iversion",
        "lazytime",
        "loud",
        "mand",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "noiversion",
        "nolazytime",
        "nomand",
        "norelatime",
        "nostrictatime",
        "nosuid",
        "nosymfollow",
        "private",
        "ratime",
        "rbind",
        "rdev",
        "rdiratime",
        "relatime",
        "remount",
        "rexec",
        "rnoatime",
        "rnodev",
        "rnodiratime",
        "rnoexec",
        "rnorelatime",
        "rnostrictatime",
        "rnosuid",
        "rnosymfollow",
        "ro",
        "rprivate",
        "rrelatime",
        "rro",
        "rrw",
        "rshared",
        "rslave",
        "rstrictatime",
        "rsuid",
        "rsymfollow",
        "runbindable",
        "rw",
        "shared",
        "silent",
        "slave",
        "strictatime",
        "suid",
        "symfollow",
        "sync",
        "tmpcopyup",
        "unbindable",
        "idmap",
        "ridmap",
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const char *const list[] = { names[i], NULL };
        struct spec_mount m = mount_with("tmpfs", list);
        struct mount_options o;
        struct err e = { 0 };

        unit_row(names[i], options_parse(&m, &o, &e) == 0);
        unit_row(names[i], o.data[0] == '\0');
    }
}

static void options_become_flags_attributes_and_data(void **state)
{
    static const struct {
        const char *name, *type, *options[MAX_OPTIONS];
        bool bind;
        uint64_t flags, set, clear, rec_set, rec_clear, propagation;
        const char *data;
    } rows[] = {
        { "plain flags",
          "tmpfs",
          { "ro", "nosuid" },
          false,
          MS_RDONLY | MS_NOSUID,
          MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID,
          0,
          0,
          0,
          0,
          "" },
        { "the later wins",
          "tmpfs",
          { "ro", "nodev", "rw" },
          false,
          MS_NODEV,
          MOUNT_ATTR_NODEV,
          MOUNT_ATTR_RDONLY,
          0,
          0,
          0,
          "" },
        { "the later wins the other way",
          "bind",
          { "bind", "rw", "ro" },
          true,
          MS_BIND,
          MOUNT_ATTR_RDONLY,
          0,
          0,
          0,
          0,
          "" },
        { "data",
          "tmpfs",
          { "mode=755", "nosuid", "size=64k" },
          false,
          MS_NOSUID,
          MOUNT_ATTR_NOSUID,
          0,
          0,
          0,
          0,
          "mode=755,size=64k" },
        { "type bind", "bind", { "nosuid" }, true, MS_BIND, MOUNT_ATTR_NOSUID, 0, 0, 0, 0, "" },
        { "rbind without a type", NULL, { "rbind" }, true, MS_BIND | MS_REC, 0, 0, 0, 0, 0, "" },
        { "propagation",
          NULL,
          { "rbind", "rslave" },
          true,
          MS_BIND | MS_REC,
          0,
          0,
          0,
          0,
          MS_SLAVE | MS_REC,
          "" },
        { "recursive",
          NULL,
          { "rbind", "rro", "rsuid" },
          true,
          MS_BIND | MS_REC,
          0,
          0,
          MOUNT_ATTR_RDONLY,
          MOUNT_ATTR_NOSUID,
          0,
          "" },
        { "access time replaces all its bits",
          NULL,
          { "bind", "noatime" },
          true,
          MS_BIND,
          MOUNT_ATTR_NOATIME,
          MOUNT_ATTR__ATIME,
          0,
          0,
          0,
          "" },
        { "strictatime after noatime",
          NULL,
          { "bind", "noatime", "strictatime" },
          true,
          MS_BIND,
          MOUNT_ATTR_STRICTATIME,
          MOUNT_ATTR__ATIME,
          0,
          0,
          0,
          "" },
        { "recursive access time",
          NULL,
          { "rbind", "rnoatime", "ratime" },
          true,
          MS_BIND | MS_REC,
          0,
          0,
          0,
          MOUNT_ATTR__ATIME,
          0,
          "" },
        { "remount",
          "tmpfs",
          { "remount", "ro" },
          false,
          MS_REMOUNT | MS_RDONLY,
          MOUNT_ATTR_RDONLY,
          0,
          0,
          0,
          0,
          "" },
        { "mount(8)'s own",
          "tmpfs",
          { "defaults", "x-systemd.automount", "noauto", "_netdev" },
          false,
          0,
          0,
          0,
          0,
          0,
          0,
          "" },
        { "empty strings", "tmpfs", { "", "size=1" }, false, 0, 0, 0, 0, 0, 0, "size=1" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct spec_mount m = mount_with(rows[i].type, rows[i].options);
        /* Not mount(2)'s business: of a bind only the kind counts. */
        uint64_t mask = rows[i].bind ? MS_BIND | MS_REC : ~UINT64_C(0);
        struct mount_options o;
        struct err e = { 0 };

        unit_row(rows[i].name, options_parse(&m, &o, &e) == 0);
        unit_row(rows[i].name, o.bind == rows[i].bind);
        unit_row(rows[i].name, (o.flags & mask) == rows[i].flags);
        unit_row(rows[i].name, o.set == rows[i].set && o.clear == rows[i].clear);
        unit_row(rows[i].name, o.rec_set == rows[i].rec_set && o.rec_clear == rows[i].rec_clear);
        unit_row(rows[i].name, o.propagation == rows[i].propagation);
        unit_row(rows[i].name, str_eq(o.data, rows[i].data));
    }
}

static void what_cannot_be_mounted_is_told_by_check(void **state)
{
    static const struct {
        const char *name, *type, *source, *options[MAX_OPTIONS], *text;
    } rows[] = {
        { "no type",
          NULL,
          "src",
          { "ro" },
          "a mount needs a type, or the option 'bind' or 'rbind'" },
        { "bind without source", NULL, NULL, { "bind" }, "a bind mount needs a source" },
        { "data on a bind",
          "none",
          "src",
          { "rbind", "size=1k" },
          "option 'size=1k' is of no file system: a bind mount has no such options" },
        { "copy up of a bind",
          "bind",
          "src",
          { "tmpcopyup" },
          "option 'tmpcopyup' is for a mount of type 'tmpfs'" },
        { "fine", "tmpfs", NULL, { "size=1k" }, NULL },
        { "a remount needs neither", NULL, NULL, { "remount", "ro" }, NULL },
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct spec_mount m = mount_with(rows[i].type, rows[i].options);
        struct err e = { 0 };
        int r;

        m.source = rows[i].source;
        r = rootfs_check_mount(&m, &e);
        unit_row(rows[i].name, (r == 0) == (rows[i].text == NULL));
        if (rows[i].text)
            assert_string_equal(e.text, rows[i].text);
    }
}

static void data_ends_where_the_kernel_cuts_it_off(void **state)
{
    char longest[MOUNT_DATA_SIZE], one_more[MOUNT_DATA_SIZE + 1];
    const char *fits[] = { longest, NULL }, *too_long[] = { one_more, NULL };
    struct spec_mount m;
    struct err e = { 0 };

    (void)state;
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    memset(one_more, 'a', sizeof one_more - 1);
    one_more[sizeof one_more - 1] = '\0';
    m = mount_with("tmpfs", fits);
    assert_int_equal(rootfs_check_mount(&m, &e), 0);
    m = mount_with("tmpfs", too_long);
    assert_int_equal(rootfs_check_mount(&m, &e), -EINVAL);
    assert_non_null(strstr(e.text, "longer than 4095 bytes"));
    assert_non_null(strstr(e.text, "mount(2) takes one page"));
}

static void ids_are_mapped_by_option_or_by_mappings(void **state)
{
    static const char *const by_option[] = { "bind", "ridmap", NULL }, *const plain[] = { "bind",
                                                                                          NULL };
    static const char *const last[] = { "ridmap", "bind", "idmap", NULL };
    struct spec_mount m = mount_with(NULL, by_option);
    struct mount_options o;

    (void)state;
    assert_true(rootfs_is_idmapped(&m));
    assert_int_equal(options_parse(&m, &o, NULL), 0);
    assert_true(o.idmap && o.rec_idmap);
    assert_string_equal(o.data, "");
    m = mount_with(NULL, last);
    assert_int_equal(options_parse(&m, &o, NULL), 0);
    assert_true(o.idmap && !o.rec_idmap);
    m = mount_with(NULL, plain);
    assert_false(rootfs_is_idmapped(&m));
    m.uid_mappings.n = 1;
    assert_true(rootfs_is_idmapped(&m));
}

static void a_mount_that_cannot_be_mapped_is_told_why(void **state)
{
    static const char *const idmap[] = { "idmap", NULL }, *const bind[] = { "bind", NULL },
                             *const again[] = { "remount", "bind", "idmap", NULL };
    struct spec_mount m = mount_with("tmpfs", idmap);
    struct err e = { 0 };

    (void)state;
    assert_int_equal(rootfs_check_mount(&m, &e), -EINVAL);
    assert_non_null(strstr(e.text, "for a bind mount"));
    m = mount_with("none", again);
    assert_int_equal(rootfs_check_mount(&m, &e), -EINVAL);
    m = mount_with(NULL, bind);
    m.source = "/x";
    m.gid_mappings.n = 1;
    assert_int_equal(rootfs_check_mount(&m, &e), -EINVAL);
    assert_non_null(strstr(e.text, "given together"));
    m.uid_mappings.n = 1;
    assert_int_equal(rootfs_check_mount(&m, &e), 0);
}

static void propagation_names_are_the_eight_of_the_spec(void **state)
{
    (void)state;
    assert_int_equal(options_propagation("rshared"), MS_SHARED | MS_REC);
    assert_int_equal(options_propagation("unbindable"), MS_UNBINDABLE);
    assert_int_equal(options_propagation("ro"), 0);
    assert_int_equal(options_propagation("nonsense"), 0);
    assert_int_equal(options_propagation(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_of_the_spec_is_known),
        cmocka_unit_test(options_become_flags_attributes_and_data),
        cmocka_unit_test(what_cannot_be_mounted_is_told_by_check),
        cmocka_unit_test(data_ends_where_the_kernel_cuts_it_off),
        cmocka_unit_test(ids_are_mapped_by_option_or_by_mappings),
        cmocka_unit_test(a_mount_that_cannot_be_mapped_is_told_why),
        cmocka_unit_test(propagation_names_are_the_eight_of_the_spec),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
