/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_SPEC_INTERNAL_H
#define TECA_SPEC_INTERNAL_H
/* Shared by the files of spec/: the field tables, the lists of names, and how a fault is noted. */
#include "spec/spec.h"

/* ---- tables: one row a property of the schema ---------------------------------------------- */

enum spec_kind {
    SPEC_BOOL,
    SPEC_INT,
    SPEC_STRING,  /* const char * */
    SPEC_CHOICE,  /* a string of `choices`, stored as an enum */
    SPEC_STRINGS, /* struct strs */
    SPEC_U32S,    /* struct spec_u32s */
    SPEC_PAIRS,   /* struct spec_pairs: an object of strings */
    SPEC_OBJECT,  /* a struct inside this one */
    SPEC_ARRAY,   /* pointer and count: an array of objects */
    SPEC_MAP,     /* pointer and count: an object of objects, named by key_offset of the table */
};

struct spec_choice {
    const char *name;
    unsigned value;
};

enum { SPEC_NO_OFFSET = 0xFFFF };

struct spec_field {
    const char *key;
    enum spec_kind kind;
    bool required;         /* by JSON: its absence is a fault */
    uint8_t width;         /* SPEC_INT: bytes */
    uint16_t offset;       /* of the value in the struct */
    uint16_t set_offset;   /* opt_*: of `set`; else SPEC_NO_OFFSET */
    uint16_t count_offset; /* SPEC_ARRAY, SPEC_MAP */
    int64_t min;           /* SPEC_INT, SPEC_U32S */
    uint64_t max;
    const struct spec_table *table;
    const struct spec_choice *choices; /* ends with a NULL name */
    const char *const *names;          /* every string is one of these; ends with NULL */
    bool (*rule)(const char *);        /* every string passes this, or it `must` ... */
    const char *must;
};

struct spec_table {
    const struct spec_field *fields;
    size_t n_fields;
    size_t size; /* of the struct */
    uint16_t set_offset, key_offset;
    void (*finish)(void *base); /* NULL, or what the rows cannot say */
};

extern const struct spec_table spec_document_table, spec_resources_table;

/* ---- names, each list ends with NULL ------------------------------------------------------- */

extern const char *const spec_rlimit_names[]; /* index: RLIMIT_ number */
extern const char *const spec_scheduler_policies[], *const spec_scheduler_flags[];
extern const char *const spec_io_classes[];
extern const char *const spec_seccomp_actions[], *const spec_seccomp_operators[];
extern const char *const spec_propagations[];
extern const char *const spec_personality_domains[];
extern const char *const spec_memory_modes[], *const spec_memory_flags[];
extern const char *const spec_image_formats[];
extern const struct spec_choice spec_namespace_choices[], spec_device_choices[];

bool spec_name_in(const char *const *names, const char *name);

/* ---- faults -------------------------------------------------------------------------------- */

/* Stable, by line. */
void spec_faults_sort(struct spec_faults *f);
/* 0, or -EINVAL and the first error of f in e. */
int spec_faults_result(const struct spec_faults *f, struct err *e);

/* All rules of spec_check; with `known`, only where that list has no error at the same place. */
void spec_check_rules(const struct spec *s, struct arena *a, struct spec_faults *f,
                      const struct spec_faults *known);

/* What the check*.c files carry around. */
struct spec_checker {
    const struct spec *s;
    struct arena *arena;
    struct spec_faults *faults;
    const struct spec_faults *known; /* may be NULL */
};
/* A pointer from a format; keys of maps go through spec_at_key, which escapes them. */
#define spec_at(c, ...) arena_format((c)->arena, __VA_ARGS__)
const char *spec_at_key(struct spec_checker *c, const char *map, const char *key);
/* Is there an error at, above or below this place already? */
bool spec_is_known(const struct spec_checker *c, const char *pointer);
/* False also when the list of namespaces could not be read whole. */
bool spec_lacks_namespace(const struct spec_checker *c, enum spec_ns type);
/* Notes an error, or a remark. */
void spec_bad(struct spec_checker *c, const char *pointer, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void spec_remark(struct spec_checker *c, const char *pointer, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

void spec_check_process(struct spec_checker *c);
void spec_check_linux(struct spec_checker *c);
void spec_check_resources(struct spec_checker *c);
void spec_check_seccomp(struct spec_checker *c);
/* Overlaps, wraps and more extents than the kernel takes. */
void spec_check_id_maps(struct spec_checker *c, const struct spec_id_maps *maps,
                        const char *pointer);

/* ---- forms of single values ---------------------------------------------------------------- */

bool spec_is_absolute(const char *path);
bool spec_is_environment(const char *entry); /* NAME=value, name not empty */
bool spec_is_cpu_list(const char *list);     /* "0-3,7", numbers and ranges; empty is fine */
bool spec_is_page_size(const char *size);    /* 2MB: config-linux.md "Huge page limits" */
bool spec_is_one_line(const char *text);
bool spec_is_filled(const char *text);
bool spec_is_interface(const char *name); /* a network device name the kernel takes */

#endif
