/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TECA_MUX_INTERNAL_H
#define TECA_MUX_INTERNAL_H
/* Numbers as they travel: little-endian. */
#include "mux/mux.h"

static inline void mux_put(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static inline uint64_t mux_get(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

#endif
