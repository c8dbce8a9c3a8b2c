/* The fast path of a runner: short, plain commands, one after the other, without a step in Python between them.

   It takes a job from the pilot's queue, starts its command, waits for a moment, and notes the report down for the
   next message to the pilot. Whatever is not short and plain it leaves to the runner in Python, which can do all of
   it: a job with bounds or a folder of its own, a command that takes longer, writes much, or leaves something behind.
   It never decides what becomes of a command; it has no state but what is in `struct desk`.

   Jobs come, and reports go, as Python's marshal writes them in its version 2, which knows no references. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "marshal writes the low byte first, and so does this program only where the processor does"
#endif

enum { MOST_WORDS = 4096, MOST_OUTPUT = 32 * 1024, REPORT_BYTES = 256 };

/* Why `picas_serve` came back. Of a job in hand the message is in `desk.message`. */
enum step {
    IDLE = 0,   /* no job waits */
    GONE = 1,   /* the pilot has closed its queue */
    DUE = 2,    /* the reports are to be sent */
    TOLD = 3,   /* a job in hand, not started: a message waits at the control socket, or the job is not plain */
    FAILED = 4, /* a job in hand whose command could not be started, for `desk.error` */
    LONG = 5,   /* a job in hand whose command runs */
    ENDED = 6   /* a job in hand whose command has ended, and has left something that is not plain */
};

/* Shared with fastpath.py, field by field; whoever changes it, or `enum step`, counts INTERFACE up in both places. */
enum { INTERFACE = 1 };

struct desk {
    int64_t jobs, control, null, out_reader, out_writer, err_reader, err_writer, token;
    uint64_t token_number;      /* the inode of PICAS_TOKEN */
    int64_t is_home;            /* whether the runner is in the folder in which plain commands start */
    const int64_t *refused;     /* numbers of jobs that are left to Python: they were cancelled */
    int64_t refused_count;
    int64_t batch;              /* how many reports are due, counted with those in Python's hands */
    double patience, held_back; /* seconds a command may take here, and a report may wait */
    char **environment;
    const char *token_path, *output_path;
    volatile int64_t *journal; /* see `Journal` in jobs.py */
    int64_t held;              /* how many it has; never read from it */
    unsigned char *message, *reports;
    int64_t message_room, reports_room;

    int64_t is_noted; /* whether the job in hand is in the journal */
    int64_t message_length, reports_length, reports_count;
    double oldest; /* when the first report came, by the monotonic clock */
    int64_t pid, status, max_rss, error;
    double start, begun, runtime;
};

/* What a job says, pointing into the message and into `words`. */
struct job {
    int64_t number, output_cap;
    char **argv, **environment;
    const unsigned char *token;
    size_t token_length;
};

struct reader {
    const unsigned char *at, *end;
};

static char *words[2 * MOST_WORDS];
static char *text;
static size_t text_room;

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* --- jobs ------------------------------------------------------------------------------------------------------- */

static int starts_with(struct reader *from, char kind)
{
    if (from->at >= from->end || *from->at != (unsigned char)kind)
        return 0;
    from->at++;
    return 1;
}

static int read_int(struct reader *from, char kind, int64_t *value)
{
    int32_t raw;
    if (!starts_with(from, kind) || from->end - from->at < 4)
        return 0;
    memcpy(&raw, from->at, 4);
    from->at += 4;
    *value = raw;
    return 1;
}

/* A string or bytes; only what is the same in Python's memory and in the kernel's eyes: no NUL, no half of a pair. */
static int read_text(struct reader *from, char kind, const unsigned char **start, size_t *length)
{
    int64_t count;
    if (!read_int(from, kind, &count) || count < 0 || from->end - from->at < count)
        return 0;
    *start = from->at;
    *length = (size_t)count;
    from->at += count;
    for (const unsigned char *at = *start; (at = memchr(at, 0xED, (size_t)(from->at - at))) != NULL; at++)
        if (at + 1 < from->at && at[1] >= 0xA0)
            return 0;
    return memchr(*start, 0, *length) == NULL;
}

static int is_zero(struct reader *from)
{
    static const double zero = 0.0;
    int64_t whole;
    struct reader ahead = *from;
    if (read_int(&ahead, 'i', &whole)) {
        *from = ahead;
        return whole == 0;
    }
    if (!starts_with(from, 'g') || from->end - from->at < 8 || memcmp(from->at, &zero, 8) != 0)
        return 0;
    from->at += 8;
    return 1;
}

static int skip_number(struct reader *from)
{
    int64_t whole;
    struct reader ahead = *from;
    if (read_int(&ahead, 'i', &whole)) {
        *from = ahead;
        return 1;
    }
    if (!starts_with(from, 'g') || from->end - from->at < 8)
        return 0;
    from->at += 8;
    return 1;
}

static char *append(size_t *used, const unsigned char *data, size_t length, char end)
{
    char *place = text + *used;
    memcpy(place, data, length);
    place[length] = end;
    *used += length + 1;
    return place;
}

static int read_argv(struct reader *from, struct job *job, size_t *used)
{
    int64_t count;
    if (!read_int(from, '[', &count) || count < 1 || count >= MOST_WORDS)
        return 0;
    for (int64_t index = 0; index < count; index++) {
        const unsigned char *start;
        size_t length;
        if (!read_text(from, 'u', &start, &length))
            return 0;
        words[index] = append(used, start, length, '\0');
    }
    words[count] = NULL;
    job->argv = words;
    return 1;
}

/* The runner's own environment, with the job's variables in place of those of the same name. */
static int read_environment(struct reader *from, struct job *job, size_t *used, char **base)
{
    char **own = words + MOST_WORDS, *given[16];
    size_t lengths[16], count = 0, all = 0;
    if (!starts_with(from, '{'))
        return 0;
    while (!starts_with(from, '0')) {
        const unsigned char *start;
        if (count == 16 || !read_text(from, 's', &start, &lengths[count]))
            return 0;
        given[count] = append(used, start, lengths[count]++, '=');
        size_t length;
        if (!read_text(from, 's', &start, &length))
            return 0;
        append(used, start, length, '\0');
        count++;
    }
    for (; *base != NULL; base++) {
        if (all + count >= MOST_WORDS - 1)
            return 0;
        own[all] = *base;
        for (size_t index = 0; index < count; index++)
            if (given[index] != NULL && strncmp(*base, given[index], lengths[index]) == 0) {
                own[all] = given[index];
                given[index] = NULL;
                break;
            }
        all++;
    }
    for (size_t index = 0; index < count; index++)
        if (given[index] != NULL)
            own[all++] = given[index];
    own[all] = NULL;
    job->environment = own;
    return 1;
}

/* Whether the message is a job that can be run here. The fields are those of `Job` in jobs.py, in their order. */
static int read_job(const struct desk *desk, struct job *job)
{
    struct reader from = {desk->message, desk->message + desk->message_length};
    int64_t fields;
    size_t used = 0, most = (size_t)desk->message_length + 2 * MOST_WORDS;
    if (text_room < most) {
        free(text);
        text = malloc(most);
        text_room = text == NULL ? 0 : most;
        if (text == NULL)
            return 0;
    }
    return read_int(&from, '(', &fields) && fields == 10 && read_int(&from, 'i', &job->number)
        && read_argv(&from, job, &used) && read_environment(&from, job, &used, desk->environment)
        && read_text(&from, 'u', &job->token, &job->token_length) && skip_number(&from) && skip_number(&from)
        && read_int(&from, 'i', &job->output_cap) && starts_with(&from, 'N') && is_zero(&from)
        && starts_with(&from, 'N') && from.at == from.end;
}

/* --- commands --------------------------------------------------------------------------------------------------- */

/* As posix_spawnp(3) looks for a program; comes back when there is none, with the errno. */
static int execute(char **argv, char **environment)
{
    const char *name = argv[0], *path = getenv("PATH");
    size_t length = strlen(name);
    int denied = 0, last = ENOENT;
    if (length == 0)
        return EINVAL;
    if (strchr(name, '/') != NULL) {
        execve(name, argv, environment);
        return errno;
    }
    if (length > 255)
        return ENAMETOOLONG;
    if (path == NULL)
        path = "/bin:/usr/bin";
    for (;;) {
        const char *end = strchrnul(path, ':');
        size_t folder = (size_t)(end - path);
        char whole[4096 + 256];
        if (folder < 4096) {
            memcpy(whole, path, folder);
            whole[folder] = '/';
            memcpy(whole + folder + (folder > 0), name, length + 1);
            execve(whole, argv, environment);
            last = errno;
            if (errno == EACCES)
                denied = 1;
            else if (errno != ENOENT && errno != ESTALE && errno != ENOTDIR && errno != ENODEV && errno != ETIMEDOUT)
                return errno;
        }
        if (*end == '\0')
            return denied ? EACCES : last;
        path = end + 1;
    }
}

/* In the new process, which has the runner's memory until it is another program. */
static int become(const struct desk *desk, const struct job *job)
{
    static const int usual[] = {SIGPIPE, SIGXFSZ, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM};
    const int handles[] = {(int)desk->null, (int)desk->out_writer, (int)desk->err_writer};
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;
    if (setpgid(0, 0) != 0)
        return errno;
    for (size_t index = 0; index < sizeof usual / sizeof usual[0]; index++)
        sigaction(usual[index], &action, NULL);
    for (int index = 0; index < 3; index++)
        if ((handles[index] == index ? fcntl(index, F_SETFD, 0) : dup2(handles[index], index)) < 0)
            return errno;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return execute(job->argv, job->environment);
}

/* vfork(2): the kernel copies nothing, and this process stands still until the other is another program. */
static pid_t start(const struct desk *desk, const struct job *job, int64_t *error)
{
    volatile int problem = 0;
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = vfork();
    if (pid == 0) {
        problem = become(desk, job);
        _exit(127);
    }
    if (pid < 0)
        problem = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid > 0 && problem != 0) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        pid = -1;
    }
    *error = problem;
    return pid;
}

/* `TokenFile.write` where nobody has touched the file. */
static int write_token(const struct desk *desk, const struct job *job)
{
    struct stat known;
    if (lstat(desk->token_path, &known) != 0 || known.st_ino != desk->token_number)
        return 0;
    if (known.st_nlink != 1 || (known.st_mode & 07777) != 0600)
        return 0;
    if (pwrite((int)desk->token, job->token, job->token_length, 0) != (ssize_t)job->token_length)
        return 0;
    return known.st_size <= (off_t)job->token_length || ftruncate((int)desk->token, (off_t)job->token_length) == 0;
}

/* Whether it has ended within its moment; a timer of the runner's breaks the wait off. */
static int wait_for(struct desk *desk)
{
    struct rusage usage;
    int status;
    while (wait4((pid_t)desk->pid, &status, 0, &usage) < 0)
        if (seconds(CLOCK_MONOTONIC) >= desk->begun + desk->patience)
            return 0;
    desk->runtime = seconds(CLOCK_MONOTONIC) - desk->begun;
    desk->status = status;
    desk->max_rss = usage.ru_maxrss * 1024;
    return 1;
}

static int has_children(void)
{
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

/* Whether a command has changed how a pipe is written to: it shares that with us, and with the next command. */
static int is_spoilt(int64_t writer)
{
    return (fcntl((int)writer, F_GETFL) & (O_NONBLOCK | O_DIRECT | O_APPEND | O_ASYNC)) != 0;
}

/* --- reports ---------------------------------------------------------------------------------------------------- */

static unsigned char *put_int(unsigned char *at, char kind, int64_t value)
{
    int32_t raw = (int32_t)value;
    *at = (unsigned char)kind;
    memcpy(at + 1, &raw, 4);
    return at + 5;
}

static unsigned char *put_float(unsigned char *at, double value)
{
    *at = 'g';
    memcpy(at + 1, &value, 8);
    return at + 9;
}

/* What waits in a pipe, and how much it is. */
static unsigned char *put_stream(unsigned char *at, int64_t reader, int waiting)
{
    ssize_t count = 0, more = 1;
    /* A read may end with a packet: they may have been written as such (O_DIRECT in pipe(2)). */
    for (; count < waiting && more > 0; count += more)
        if ((more = read((int)reader, at + 5 + count, (size_t)(waiting - count))) < 0)
            more = 0;
    put_int(at, 's', count);
    return put_int(at + 5 + count, 'i', count);
}

/* Note the report, if all that the command left is some output. The fields are those of `Report`, in their order. */
static int report(struct desk *desk, const struct job *job, int *told)
{
    struct pollfd ready[] = {{(int)desk->control, POLLIN, 0}, {(int)desk->out_reader, POLLIN, 0},
                             {(int)desk->err_reader, POLLIN, 0}};
    struct stat output;
    int waiting[2] = {0, 0};
    if (desk->max_rss > INT32_MAX || has_children() || is_spoilt(desk->out_writer) || is_spoilt(desk->err_writer))
        return 0;
    if (lstat(desk->output_path, &output) == 0 || errno != ENOENT)
        return 0;
    poll(ready, 3, 0);
    *told = ready[0].revents != 0;
    for (int index = 0; index < 2; index++)
        if (ready[index + 1].revents != 0 && ioctl(ready[index + 1].fd, FIONREAD, &waiting[index]) != 0)
            return 0;
    int64_t most = job->output_cap < MOST_OUTPUT ? job->output_cap : MOST_OUTPUT;
    if (waiting[0] > most || waiting[1] > most
        || desk->reports_length + REPORT_BYTES + waiting[0] + waiting[1] > desk->reports_room)
        return 0;
    unsigned char *at = desk->reports + desk->reports_length;
    int status = (int)desk->status;
    at = put_int(at, '(', 12);
    at = put_int(at, 'i', job->number);
    at = put_int(at, 'i', WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    at = put_int(at, 'u', 0);
    at = put_float(at, desk->start);
    at = put_float(at, desk->runtime);
    at = put_int(at, 'i', desk->max_rss);
    at = put_stream(at, desk->out_reader, waiting[0]);
    at = put_stream(at, desk->err_reader, waiting[1]);
    *at++ = 'N';
    *at++ = 'F';
    desk->reports_length = at - desk->reports;
    if (desk->reports_count++ == 0)
        desk->oldest = desk->begun + desk->runtime;
    return 1;
}

static int is_told(const struct desk *desk)
{
    struct pollfd ready = {(int)desk->control, POLLIN, 0};
    return poll(&ready, 1, 0) != 0;
}

static int is_refused(const struct desk *desk, int64_t number)
{
    for (int64_t index = 0; index < desk->refused_count; index++)
        if (desk->refused[index] == number)
            return 1;
    return 0;
}

/* What fastpath.py must know it by: a library of another time, with other fields, would write into the wrong places. */
int picas_interface(void)
{
    return INTERFACE << 16 | (int)sizeof(struct desk);
}

/* Run jobs until there is something to do that is not done here. */
int picas_serve(struct desk *desk)
{
    int told = is_told(desk);
    for (;;) {
        struct job job;
        ssize_t length = recv((int)desk->jobs, desk->message, (size_t)desk->message_room, MSG_DONTWAIT);
        if (length < 0)
            return IDLE;
        if (length == 0)
            return GONE;
        desk->message_length = length;
        desk->is_noted = 0;
        if (told || !desk->is_home || !read_job(desk, &job) || is_refused(desk, job.number))
            return TOLD;
        desk->journal[++desk->held] = job.number;
        desk->journal[0] = desk->held;
        desk->is_noted = 1;
        if (!write_token(desk, &job))
            return TOLD;
        desk->start = seconds(CLOCK_REALTIME);
        desk->begun = seconds(CLOCK_MONOTONIC);
        desk->pid = start(desk, &job, &desk->error);
        if (desk->pid < 0)
            return FAILED;
        if (!wait_for(desk))
            return LONG;
        if (!report(desk, &job, &told))
            return ENDED;
        if (desk->reports_count >= desk->batch || desk->begun + desk->runtime - desk->oldest > desk->held_back)
            return DUE;
    }
}
