// The program of docs/own_script.md: reads TOML, continues from its own checkpoint, writes JSON lines with a nested metric.
#include <math.h>
#include <stdio.h>

int main(int count, char **words) {  // ./train CONFIG FOLDER
    char line[256], rows[1024], last[1024];
    double lr = 0.1, x = 0.0;
    int done = 0;
    FILE *file = fopen(words[1], "r");
    if (count != 3 || !file) { fprintf(stderr, "error: no config file\n"); return 1; }
    while (fgets(line, sizeof line, file)) sscanf(line, "lr = %lf", &lr);
    fclose(file);
    snprintf(rows, sizeof rows, "%s/metrics.jsonl", words[2]);
    snprintf(last, sizeof last, "%s/last.txt", words[2]);
    if ((file = fopen(last, "r"))) { fscanf(file, "%d %lf", &done, &x); fclose(file); }
    for (int epoch = done + 1; epoch <= 20; epoch++) {
        x += lr * (3 - x);
        file = fopen(rows, "a");
        fprintf(file, "{\"epoch\": %d, \"eval\": {\"loss\": %g}}\n", epoch, fabs(3 - x));
        fclose(file);
        file = fopen(last, "w"); fprintf(file, "%d %.17g\n", epoch, x); fclose(file);
    }
    return 0;
}
