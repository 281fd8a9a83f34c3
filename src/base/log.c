/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

void (*log_sink)(const char *line);

void log_debug(const char *fmt, ...)
{
    char line[1024];
    va_list ap;

    if (log_sink == NULL)
        return;
    va_start(ap, fmt);
    base_vformat(line, sizeof(line), fmt, ap);
    va_end(ap);
    log_sink(line);
}
