/* A libnvidia-ml.so.1 whose boards stand in a text file.
 *
 * HEARTH_NVML_SPEC names the file; it is read again at every call, so that a test changes a board
 * while the library is in use. Lines are `key=value`; the keys are listed in README.md. What a
 * board does not name it does not support (NVML_ERROR_NOT_SUPPORTED), as on real ones.
 * Signatures are those of nvml.h; the return codes are nvmlReturn_t.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3,
       NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

#define MAX_BOARDS 16
#define MAX_SLICES 16
#define EXPORT __attribute__((visibility("default")))

typedef void *device;
typedef struct { char bus_id_legacy[16]; unsigned domain, bus, device, device_id, subsystem_id;
                 char bus_id[32]; } pci_info;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct { unsigned gpu, memory; } utilization;
typedef struct { unsigned version; int sensor; int temperature; } temperature_v1;
typedef struct { unsigned sm, copy, decoder, encoder, jpeg, ofa, gi_slices, ci_slices;
                 unsigned long long memory_mb; } attributes;
typedef struct { uint32_t id, scope; int64_t timestamp, latency; int type, result;
                 union { double d; uint32_t ui; uint64_t ul; } value; } field;

static int initialised;

static int look(char *value, size_t size, const char *format, ...)
{
    char key[160], line[512];
    va_list list;
    va_start(list, format);
    vsnprintf(key, sizeof key, format, list);
    va_end(list);
    const char *path = getenv("HEARTH_NVML_SPEC");
    FILE *file = path ? fopen(path, "re") : NULL;
    int found = 0;
    size_t length = strlen(key);
    while (file && !found && fgets(line, sizeof line, file))
        if (!strncmp(line, key, length) && line[length] == '=') {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, size, "%s", line + length + 1);
            found = 1;
        }
    if (file)
        fclose(file);
    return found;
}

static int number(unsigned long long *value, const char *prefix, const char *key)
{
    char text[64];
    if (!look(text, sizeof text, "%s%s", prefix, key))
        return 0;
    *value = strtoull(text, NULL, 0);
    return 1;
}

/* A handle is 0x1000 * (board + 1) + (slice + 1), the last 0 for the board itself. */
static int place(device handle, char *prefix, size_t size)
{
    uintptr_t n = (uintptr_t)handle;
    if (n < 0x1000 || n >= 0x1000 * (MAX_BOARDS + 1) || (n & 0xfff) > MAX_SLICES)
        return INVALID_ARGUMENT;
    unsigned board = n / 0x1000 - 1, slice = n & 0xfff;
    if (slice)
        snprintf(prefix, size, "gpu.%u.mig.%u.", board, slice - 1);
    else
        snprintf(prefix, size, "gpu.%u.", board);
    return SUCCESS;
}

/* What a call answers before it looks at anything: not initialised, or an injected error. */
static int begin(const char *function, device *handle, char *prefix, size_t size)
{
    unsigned long long code;
    char key[128];
    snprintf(key, sizeof key, "error.%s", function);
    if (number(&code, "", key))
        return (int)code;
    if (!initialised)
        return UNINITIALIZED;
    if (!handle)
        return SUCCESS;
    int result = place(*handle, prefix, size);
    if (result)
        return result;
    if (number(&code, prefix, "error") || number(&code, prefix, key))
        return (int)code;
    return SUCCESS;
}

#define BEGIN(handle)                                                                     \
    char prefix[64];                                                                      \
    int result = begin(__func__, &(handle), prefix, sizeof prefix);                       \
    if (result)                                                                           \
        return result

static int copy(char *out, unsigned size, const char *prefix, const char *key)
{
    char text[256];
    if (!look(text, sizeof text, "%s%s", prefix, key))
        return NOT_SUPPORTED;
    if (strlen(text) + 1 > size)
        return INSUFFICIENT_SIZE;
    memcpy(out, text, strlen(text) + 1);
    return SUCCESS;
}

static int word(unsigned *out, const char *prefix, const char *key)
{
    unsigned long long value;
    if (!number(&value, prefix, key))
        return NOT_SUPPORTED;
    *out = (unsigned)value;
    return SUCCESS;
}

EXPORT int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    unsigned long long code;
    if (number(&code, "error.", "nvmlInitWithFlags"))
        return (int)code;
    initialised++;
    return SUCCESS;
}

EXPORT int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

EXPORT int nvmlShutdown(void)
{
    if (!initialised)
        return UNINITIALIZED;
    initialised--;
    return SUCCESS;
}

EXPORT const char *nvmlErrorString(int code)
{
    static char text[32];
    snprintf(text, sizeof text, "error %d", code);
    return text;
}

static int system_string(const char *function, const char *key, char *out, unsigned size)
{
    int result = begin(function, NULL, NULL, 0);
    return result ? result : copy(out, size, "", key);
}

EXPORT int nvmlSystemGetDriverVersion(char *out, unsigned size)
{
    return system_string(__func__, "driver", out, size);
}

EXPORT int nvmlSystemGetNVMLVersion(char *out, unsigned size)
{
    return system_string(__func__, "nvml", out, size);
}

EXPORT int nvmlSystemGetCudaDriverVersion(int *out)
{
    int result = begin(__func__, NULL, NULL, 0);
    return result ? result : word((unsigned *)out, "", "cuda");
}

static unsigned boards(void)
{
    char text[256];
    unsigned count = 0;
    while (count < MAX_BOARDS && look(text, sizeof text, "gpu.%u.uuid", count))
        count++;
    return count;
}

EXPORT int nvmlDeviceGetCount_v2(unsigned *count)
{
    int result = begin(__func__, NULL, NULL, 0);
    *count = boards();
    return result;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *handle)
{
    char key[64];
    unsigned long long code;
    int result = begin(__func__, NULL, NULL, 0);
    if (result)
        return result;
    snprintf(key, sizeof key, "gpu.%u.error.nvmlDeviceGetHandleByIndex_v2", index);
    if (number(&code, "", key))
        return (int)code;
    if (index >= boards())
        return INVALID_ARGUMENT;
    *handle = (device)(uintptr_t)(0x1000 * (index + 1));
    return SUCCESS;
}

static int find(const char *function, const char *key, const char *wanted, device *handle)
{
    char text[256];
    int result = begin(function, NULL, NULL, 0);
    if (result)
        return result;
    for (unsigned board = 0; board < boards(); board++) {
        if (look(text, sizeof text, "gpu.%u.%s", board, key) && !strcasecmp(text, wanted)) {
            *handle = (device)(uintptr_t)(0x1000 * (board + 1));
            return SUCCESS;
        }
        for (unsigned slice = 0; slice < MAX_SLICES; slice++)
            if (look(text, sizeof text, "gpu.%u.mig.%u.%s", board, slice, key)
                && !strcasecmp(text, wanted)) {
                *handle = (device)(uintptr_t)(0x1000 * (board + 1) + slice + 1);
                return SUCCESS;
            }
    }
    return NOT_FOUND;
}

EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, device *handle)
{
    return find(__func__, "uuid", uuid, handle);
}

EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, device *handle)
{
    return find(__func__, "pci_bus_id", bus_id, handle);
}

#define STRING(function, key)                                                             \
    EXPORT int function(device handle, char *out, unsigned size)                          \
    {                                                                                     \
        BEGIN(handle);                                                                    \
        return copy(out, size, prefix, key);                                              \
    }
STRING(nvmlDeviceGetName, "name")
STRING(nvmlDeviceGetUUID, "uuid")
STRING(nvmlDeviceGetSerial, "serial")
STRING(nvmlDeviceGetVbiosVersion, "vbios")
STRING(nvmlDeviceGetBoardPartNumber, "board_part")

#define WORD(function, key)                                                               \
    EXPORT int function(device handle, unsigned *out)                                     \
    {                                                                                     \
        BEGIN(handle);                                                                    \
        return word(out, prefix, key);                                                    \
    }
WORD(nvmlDeviceGetMinorNumber, "minor")
WORD(nvmlDeviceGetPowerUsage, "power_mw")
WORD(nvmlDeviceGetPowerManagementLimit, "power_limit_mw")
WORD(nvmlDeviceGetEnforcedPowerLimit, "power_limit_mw")
WORD(nvmlDeviceGetMaxMigDeviceCount, "mig_max")
WORD(nvmlDeviceGetGpuInstanceId, "gi")
WORD(nvmlDeviceGetComputeInstanceId, "ci")

#define PAIR(function, first, second)                                                     \
    EXPORT int function(device handle, unsigned *a, unsigned *b)                          \
    {                                                                                     \
        BEGIN(handle);                                                                    \
        result = word(a, prefix, first);                                                  \
        return result ? result : word(b, prefix, second);                                 \
    }
PAIR(nvmlDeviceGetEccMode, "ecc_current", "ecc_pending")
PAIR(nvmlDeviceGetMigMode, "mig_current", "mig_pending")
PAIR(nvmlDeviceGetPowerManagementLimitConstraints, "power_min_mw", "power_max_mw")
PAIR(nvmlDeviceGetCudaComputeCapability, "cuda_major", "cuda_minor")

EXPORT int nvmlDeviceGetPciInfo_v3(device handle, pci_info *out)
{
    unsigned function;
    BEGIN(handle);
    memset(out, 0, sizeof *out);
    result = copy(out->bus_id, sizeof out->bus_id, prefix, "pci_bus_id");
    if (result)
        return result;
    if (sscanf(out->bus_id, "%x:%x:%x.%x", &out->domain, &out->bus, &out->device, &function) != 4)
        return INVALID_ARGUMENT;
    snprintf(out->bus_id_legacy, sizeof out->bus_id_legacy, "%04x:%02x:%02x.%x", out->domain & 0xffff,
             out->bus & 0xff, out->device & 0x1f, function & 7);
    word(&out->device_id, prefix, "pci_device_id");
    word(&out->subsystem_id, prefix, "pci_subsystem_id");
    return SUCCESS;
}

EXPORT int nvmlDeviceGetMemoryInfo(device handle, memory *out)
{
    BEGIN(handle);
    memset(out, 0, sizeof *out);
    if (!number(&out->total, prefix, "memory_total"))
        return NOT_SUPPORTED;
    number(&out->used, prefix, "memory_used");
    out->free = out->total - out->used;
    return SUCCESS;
}

EXPORT int nvmlDeviceGetMemoryInfo_v2(device handle, memory_v2 *out)
{
    BEGIN(handle);
    if (!number(&out->total, prefix, "memory_total"))
        return NOT_SUPPORTED;
    out->reserved = out->used = 0;
    number(&out->reserved, prefix, "memory_reserved");
    number(&out->used, prefix, "memory_used");
    out->free = out->total - out->used - out->reserved;
    return SUCCESS;
}

EXPORT int nvmlDeviceGetUtilizationRates(device handle, utilization *out)
{
    BEGIN(handle);
    result = word(&out->gpu, prefix, "utilization_gpu");
    return result ? result : word(&out->memory, prefix, "utilization_memory");
}

EXPORT int nvmlDeviceGetTemperature(device handle, int sensor, unsigned *out)
{
    BEGIN(handle);
    return sensor ? INVALID_ARGUMENT : word(out, prefix, "temperature_c");
}

EXPORT int nvmlDeviceGetTemperatureV(device handle, temperature_v1 *out)
{
    BEGIN(handle);
    return out->sensor ? INVALID_ARGUMENT
                       : word((unsigned *)&out->temperature, prefix, "temperature_c");
}

#ifndef WITHOUT_ENERGY /* before Volta the driver has the function; old libraries lack the symbol */
EXPORT int nvmlDeviceGetTotalEnergyConsumption(device handle, unsigned long long *out)
{
    BEGIN(handle);
    return number(out, prefix, "energy_mj") ? SUCCESS : NOT_SUPPORTED;
}
#endif

/* Fields 83 TOTAL_ENERGY_CONSUMPTION (mJ), 185 POWER_AVERAGE, 186 POWER_INSTANT (mW). */
EXPORT int nvmlDeviceGetFieldValues(device handle, int count, field *fields)
{
    BEGIN(handle);
    for (int i = 0; i < count; i++) {
        const char *key = fields[i].id == 83    ? "energy_mj"
                          : fields[i].id == 185 ? "power_average_mw"
                          : fields[i].id == 186 ? "power_mw"
                                                : NULL;
        unsigned long long value = 0;
        fields[i].result = key && number(&value, prefix, key) ? SUCCESS : NOT_SUPPORTED;
        fields[i].type = fields[i].id == 83 ? 3 : 1; /* unsigned long long, unsigned int */
        fields[i].value.ul = value;
    }
    return SUCCESS;
}

EXPORT int nvmlDeviceGetRemappedRows(device handle, unsigned *correctable, unsigned *uncorrectable,
                                     unsigned *pending, unsigned *failure)
{
    BEGIN(handle);
    if ((result = word(correctable, prefix, "remapped_correctable"))
        || (result = word(uncorrectable, prefix, "remapped_uncorrectable"))
        || (result = word(pending, prefix, "remapped_pending")))
        return result;
    return word(failure, prefix, "remapped_failure");
}

EXPORT int nvmlDeviceGetTotalEccErrors(device handle, int kind, int counter, unsigned long long *out)
{
    char key[64];
    BEGIN(handle);
    snprintf(key, sizeof key, "ecc_%s_%s", counter ? "aggregate" : "volatile",
             kind ? "uncorrected" : "corrected");
    return number(out, prefix, key) ? SUCCESS : NOT_SUPPORTED;
}

EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(device handle, unsigned index, device *slice)
{
    char text[256];
    BEGIN(handle);
    if (index >= MAX_SLICES || !look(text, sizeof text, "%smig.%u.uuid", prefix, index))
        return NOT_FOUND;
    *slice = (device)((uintptr_t)handle + index + 1);
    return SUCCESS;
}

EXPORT int nvmlDeviceGetAttributes_v2(device handle, attributes *out)
{
    unsigned long long value = 0;
    BEGIN(handle);
    memset(out, 0, sizeof *out);
    if (!number(&value, prefix, "memory_total"))
        return NOT_SUPPORTED;
    out->memory_mb = value >> 20;
    word(&out->sm, prefix, "multiprocessors");
    word(&out->gi_slices, prefix, "gi_slices");
    word(&out->ci_slices, prefix, "ci_slices");
    return SUCCESS;
}
