/* A small NVML that plays a trace. Each time the cards are counted it goes on to the next line of the file `trace` beside the library, and stays at the last:
   "degrees milliwatts utilisation used-mebibytes". The file is read anew each time; one of another size is played from its start. A line "lost" is a card that answers nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define OK 0
#define LOST 15

typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Utilisation;

static unsigned int row;
static long size;
static int lost;
static unsigned int degrees, milliwatts, utilisation, used;

static void read_row(void) {
    Dl_info library;
    char path[4096] = "", line[256];
    if (dladdr((void *)&read_row, &library) && strlen(library.dli_fname) < sizeof path - 8) strcpy(path, library.dli_fname);
    char *name = strrchr(path, '/');
    if (name) strcpy(name + 1, "trace");
    FILE *file = fopen(path, "r");
    lost = 1;
    if (file && fseek(file, 0, SEEK_END) == 0 && ftell(file) != size) {
        size = ftell(file);
        row = 0;
    }
    if (file) rewind(file);
    for (unsigned int at = 0; file && at <= row && fgets(line, sizeof line, file); at++)
        lost = sscanf(line, "%u %u %u %u", &degrees, &milliwatts, &utilisation, &used) != 4;
    if (file) fclose(file);
    row++;
}

int nvmlInit_v2(void) { return OK; }
int nvmlShutdown(void) { return OK; }
int nvmlDeviceGetCount_v2(unsigned int *count) { read_row(); *count = 1; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **card) { *card = &row; return index == 0 && !lost ? OK : LOST; }
int nvmlDeviceGetName(void *card, char *name, unsigned int length) { (void)card; strncpy(name, "stand-in", length); return OK; }
int nvmlDeviceGetTemperature(void *card, int sensor, unsigned int *value) { (void)card; (void)sensor; *value = degrees; return OK; }
int nvmlDeviceGetPowerUsage(void *card, unsigned int *value) { (void)card; *value = milliwatts; return OK; }
int nvmlDeviceGetUtilizationRates(void *card, Utilisation *value) { (void)card; value->gpu = utilisation; value->memory = 0; return OK; }
int nvmlDeviceGetMemoryInfo_v2(void *card, Memory *value) {
    (void)card;
    value->total = 24576ULL << 20;
    value->reserved = 0;
    value->used = (unsigned long long)used << 20;
    value->free = value->total - value->used;
    return OK;
}
