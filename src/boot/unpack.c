/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Debian packs kernels and modules with. The four libraries are linked statically, decoders only:
 * a host need not have the programs, and 6.1's cloud kernel wants lz4(1), which few hosts have.
 */
#include <errno.h>
#include <lz4.h>
#include <lzma.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "boot/internal.h"

enum {
    PIECE = 1 << 20,
    LZ4_BLOCK_MAX = 8 << 20, /* of the legacy format, lz4's doc/lz4_Frame_format.md */
    GZIP_WINDOW = 16 + 15,   /* gzip header, largest window: zlib.h, inflateInit2 */
    SIZE_BYTES = 4,          /* the kernel's build appends the unpacked size */
};

static int torn(const char *kind, struct err *e)
{
    return err_set(e, 0, "its %s data is damaged", kind);
}

static int too_large(struct err *e)
{
    return err_set(e, EFBIG, "unpacked it has more than %d MiB", BOOT_UNPACKED_MAX >> 20);
}

/* Room for one more piece of that size behind what is there. */
static char *room(struct strbuf *out, size_t size)
{
    static const char zeros[4096];
    size_t len = out->len;

    if (out->cap - out->len <= size) {
        for (size_t n = 0; n <= size; n += sizeof zeros)
            strbuf_add(out, zeros, sizeof zeros);
        out->len = len;
    }
    return out->ptr + len;
}

static int unpack_zstd(const uint8_t *data, size_t len, struct strbuf *out, struct err *e)
{
    ZSTD_DStream *stream = ZSTD_createDStream();
    ZSTD_inBuffer in = { data, len, 0 };
    size_t left = 1;
    int r = 0;

    while (r == 0 && left != 0) {
        ZSTD_outBuffer piece = { room(out, PIECE), PIECE, 0 };
        size_t before = in.pos;

        left = ZSTD_decompressStream(stream, &piece, &in);
        out->len += piece.pos;
        if (ZSTD_isError(left) || (left != 0 && in.pos == before && piece.pos == 0))
            r = torn("zstd", e);
        else if (out->len > BOOT_UNPACKED_MAX)
            r = too_large(e);
    }
    ZSTD_freeDStream(stream);
    return r;
}

static int unpack_xz(const uint8_t *data, size_t len, struct strbuf *out, struct err *e)
{
    lzma_stream stream = LZMA_STREAM_INIT;
    lzma_ret ret = lzma_stream_decoder(&stream, UINT64_MAX, 0);
    int r = ret == LZMA_OK ? 0 : err_set(e, ENOMEM, "cannot unpack xz");

    stream.next_in = data;
    stream.avail_in = len;
    while (r == 0 && ret != LZMA_STREAM_END) {
        stream.next_out = (uint8_t *)room(out, PIECE);
        stream.avail_out = PIECE;
        ret = lzma_code(&stream, LZMA_RUN);
        out->len += PIECE - stream.avail_out;
        if (ret != LZMA_OK && ret != LZMA_STREAM_END)
            r = torn("xz", e);
        else if (out->len > BOOT_UNPACKED_MAX)
            r = too_large(e);
    }
    lzma_end(&stream);
    return r;
}

static int unpack_gzip(const uint8_t *data, size_t len, struct strbuf *out, struct err *e)
{
    z_stream stream = { .next_in = (Bytef *)data, .avail_in = (uInt)len };
    int ret = inflateInit2(&stream, GZIP_WINDOW);
    int r = ret == Z_OK ? 0 : err_set(e, ENOMEM, "cannot unpack gzip");

    while (r == 0 && ret != Z_STREAM_END) {
        stream.next_out = (Bytef *)room(out, PIECE);
        stream.avail_out = PIECE;
        ret = inflate(&stream, Z_NO_FLUSH);
        out->len += PIECE - stream.avail_out;
        if (ret != Z_OK && ret != Z_STREAM_END)
            r = torn("gzip", e);
        else if (out->len > BOOT_UNPACKED_MAX)
            r = too_large(e);
    }
    inflateEnd(&stream);
    return r;
}

/* Blocks of [size, data], to the end; the last four bytes may be the kernel's. */
static int unpack_lz4(const uint8_t *data, size_t len, struct strbuf *out, struct err *e)
{
    size_t at = 4;

    while (len - at > SIZE_BYTES) {
        size_t size = boot_get(data + at, 4);
        int n;

        at += 4;
        if (size > len - at || size > INT32_MAX)
            return torn("lz4", e);
        n = LZ4_decompress_safe((const char *)data + at, room(out, LZ4_BLOCK_MAX), (int)size,
                                LZ4_BLOCK_MAX);
        if (n < 0)
            return torn("lz4", e);
        out->len += (size_t)n;
        if (out->len > BOOT_UNPACKED_MAX)
            return too_large(e);
        at += size;
    }
    return 0;
}

int boot_unpack(const void *data, size_t len, struct strbuf *out, struct err *e)
{
    static const struct {
        const char *magic;
        size_t len;
        int (*unpack)(const uint8_t *data, size_t len, struct strbuf *out, struct err *e);
    } kinds[] = {
        { "\x28\xb5\x2f\xfd", 4, unpack_zstd },
        { "\xfd"
          "7zXZ",
          6, unpack_xz },
        { "\x1f\x8b", 2, unpack_gzip },
        { "\x02\x21\x4c\x18", 4, unpack_lz4 },
    };

    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (len > SIZE_BYTES + kinds[i].len && memcmp(data, kinds[i].magic, kinds[i].len) == 0)
            return kinds[i].unpack(data, len, out, e);
    return -EMEDIUMTYPE;
}
