/* fractal POWER ANGLE DISTANCE FILE: draw the Julia set of z -> z^POWER + c as a picture, a file in the format PPM.
 *
 * The constant c is chosen beside the edge of the Mandelbrot set's largest part, where the pictures are most varied:
 * at ANGLE degrees around it, and DISTANCE times as far from the middle as the edge is. Below 1 the set has an inside,
 * above 1 it falls to dust. The edge for any power is c = w - w^POWER with |w| = POWER^(-1 / (POWER - 1)).
 *
 * Colours come from the smooth count of steps until a point escapes, so that there are no bands; points that never
 * escape are shaded by how near they came to the middle. Each pixel is the mean of 2 x 2 samples.
 */
#include <complex.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SIZE = 200, SAMPLES = 2, STEPS = 400 };

static const double ESCAPED = 1e4, TAU = 6.283185307179586;

typedef struct { double r, g, b; } Colour;

static double complex power_of(double complex z, int power) {
    double complex result = z;
    for (int i = 1; i < power; i++)
        result *= z;
    return result;
}

static double wave(double x, double phase) {
    return 0.5 - 0.5 * cos(TAU * (x + phase));
}

/* A way through deep blue, white and gold, different for each power. */
static Colour outside(double count, int power) {
    double x = 0.15 * sqrt(count) + 0.12 * (power - 2);
    double light = 1 - exp(-pow(count / 7, 1.6));
    return (Colour){light * wave(x, 0.02) + 0.004, light * wave(x, 0.12) + 0.006, light * wave(x, 0.27) + 0.014};
}

static Colour inside(double nearest) {
    double light = exp(-4.5 * nearest);
    return (Colour){0.03 + 0.60 * light, 0.01 + 0.22 * light * light, 0.08 + 0.34 * light};
}

static Colour colour_of(double complex z, double complex c, int power) {
    double nearest = 1e9;
    for (int step = 0; step < STEPS; step++) {
        double size = creal(z) * creal(z) + cimag(z) * cimag(z);
        if (size > ESCAPED)
            return outside(fmax(0, step + 1 - log(log(size) / 2) / log(power)), power);
        nearest = fmin(nearest, size);
        z = power_of(z, power) + c;
    }
    return inside(sqrt(nearest));
}

static int byte(double light) {
    return (int)(255.999 * sqrt(fmin(1, fmax(0, light / (SAMPLES * SAMPLES)))));
}

static void draw(FILE *file, double complex c, int power) {
    double width = power == 2 ? 2.9 : 2.5, step = width / (SIZE * SAMPLES);
    fprintf(file, "P6\n%d %d\n255\n", SIZE, SIZE);
    for (int y = 0; y < SIZE; y++)
        for (int x = 0; x < SIZE; x++) {
            Colour sum = {0, 0, 0};
            for (int i = 0; i < SAMPLES * SAMPLES; i++) {
                double re = (x * SAMPLES + i % SAMPLES + 0.5) * step - width / 2;
                double im = width / 2 - (y * SAMPLES + i / SAMPLES + 0.5) * step;
                Colour one = colour_of(re + im * I, c, power);
                sum.r += one.r, sum.g += one.g, sum.b += one.b;
            }
            fprintf(file, "%c%c%c", byte(sum.r), byte(sum.g), byte(sum.b));
        }
}

int main(int count, char **words) {
    if (count != 5) {
        fprintf(stderr, "usage: fractal POWER ANGLE DISTANCE FILE\n");
        return 2;
    }
    int power = atoi(words[1]);
    double angle = atof(words[2]) * TAU / 360, distance = atof(words[3]);
    if (power < 2 || power > 9) {
        fprintf(stderr, "fractal: POWER must be 2 to 9, not %s\n", words[1]);
        return 2;
    }
    FILE *file = fopen(words[4], "wb");
    if (file == NULL) {
        perror(words[4]);
        return 1;
    }
    double complex w = pow(power, -1.0 / (power - 1)) * cexp(angle * I);
    draw(file, distance * (w - power_of(w, power)), power);
    if (fclose(file) != 0) {
        perror(words[4]);
        return 1;
    }
    return 0;
}
