import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { chmod, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { filterWait } from './filter-wait.ts';

/**
 * What is known of one step of a process run: `step-<n>.status`, a file of short lines that is only ever appended to,
 * so that agent and supervisor can both write it and a crash of either leaves it readable. A line counts once its
 * newline is there.
 *
 *     begun 1234567 60000      by the agent: boot ms, limit in ms (0: none)
 *     filter 4712 8812345      by the feeder: what brings the step's output into its file, and its start ticks
 *     pid 4711 8812345         by the supervisor: itself and its start ticks
 *     killed "timed out …"     by the agent, before it signals
 *     exit 0                   by the supervisor: the end
 */
export interface StepRecord {
  begunMs: number;
  timeoutMs: number | null;
  supervisor: { pid: number; startTicks: string } | null;
  /** Null with a supervisor of an earlier version. */
  filter: { pid: number; startTicks: string } | null;
  killed: string | null;
  exitCode: number | null;
}

/** No record is longer. */
const mostBytes = 16 << 10;

const lines: ReadonlyMap<string, RegExp> = new Map([
  ['begun', /^begun \d{1,16}(?:\.\d+)? \d{1,16}(?:\.\d+)?$/],
  ['filter', /^filter \d{1,10} \d{1,20}$/],
  ['pid', /^pid \d{1,10} \d{1,20}$/],
  ['killed', /^killed ".*"$/],
  ['exit', /^exit \d{1,3}$/],
]);

/** The file is the agent's, and the supervisor alone has it open, but what runs as the job's user can take that descriptor: of each kind the first line counts, and what is no line of ours is none. */
export function parseStepRecord(text: string): StepRecord {
  const said = new Map<string, string>();
  for (const line of text.split('\n').slice(0, -1)) {
    const [word = ''] = line.split(' ', 1);
    if (!said.has(word) && lines.get(word)?.test(line)) said.set(word, line.slice(word.length + 1));
    // Too late: it had ended.
    if (word === 'exit' && said.has(word) && !said.has('killed')) said.set('killed', '');
  }
  const wordsOf = (word: string): string[] => said.get(word)?.split(' ') ?? [];
  const processOf = ([pid, startTicks]: string[]): StepRecord['supervisor'] =>
    pid === undefined || startTicks === undefined ? null : { pid: Number(pid), startTicks };
  const [begunMs = 0, timeoutMs = 0] = wordsOf('begun').map(Number);
  const killed = said.get('killed') ?? '';
  return {
    begunMs,
    timeoutMs: timeoutMs > 0 ? timeoutMs : null,
    supervisor: processOf(wordsOf('pid')),
    filter: processOf(wordsOf('filter')),
    killed: killed === '' ? null : sentenceIn(killed),
    exitCode: said.has('exit') ? Number(said.get('exit')) : null,
  };
}

function sentenceIn(json: string): string | null {
  try {
    return String(JSON.parse(json));
  } catch {
    return null;
  }
}

/** Null when the step was never begun. */
export function readStepRecord(path: string): StepRecord | null {
  try {
    const file = openSync(path, 'r');
    try {
      const buffer = Buffer.allocUnsafe(mostBytes);
      return parseStepRecord(buffer.toString('utf8', 0, readSync(file, buffer, 0, mostBytes, 0)));
    } finally {
      closeSync(file);
    }
  } catch {
    return null;
  }
}

export const statusFile = (folder: string, index: number): string => join(folder, `step-${index}.status`);
export const outputFile = (folder: string, index: number): string => join(folder, `step-${index}.out`);

/** Who, as the records say, looks after the steps of a run that were begun, and after their output, living or not. */
export function readSupervisors(folder: string): { pid: number; startTicks: string; output: string }[] {
  const found: { pid: number; startTicks: string; output: string }[] = [];
  for (let index = 0; ; index++) {
    const record = readStepRecord(statusFile(folder, index));
    if (record === null) return found;
    for (const one of [record.supervisor, record.filter])
      if (one !== null) found.push({ ...one, output: outputFile(folder, index) });
  }
}

/**
 * The supervisor of one step: bash in a session of its own, which outlives the agent. Output goes to the file that the
 * agent opened; the step gets a process group of its own (so `kill 0` in a job's script does not hit the supervisor)
 * but no job control while we wait, so that a SIGSTOP of the step does not look like its end. Descriptor 3 is the
 * status file, 4 the control group's cgroup.procs (or /dev/null), 6 to 8 those of groups that only limit, where there are
 * any; the step inherits none of them.
 *
 * The step writes into the pipe of the feeder (below), descriptor 9. What that has read but not written when the step's shell ends is waited for
 * (it sleeps, and the pipe is empty), as is what a filter of the job's own still holds (filter-wait.ts).
 *
 * $1: the step. With `hold` for $2 it holds the orphans of its step (orphan-holding.ts), so it stays until the last one is gone. $3: the feeder's cat.
 */
const supervisor = `umask 022
echo 0 2>/dev/null >&4
{ echo 0 >&6; echo 0 >&7; echo 0 >&8; } 2>/dev/null
exec 4>&- 5>&- 6>&- 7>&- 8>&-
# An agent of before begins it without a feeder.
[ -n "$3" ] || exec 9>&1 >/dev/null 2>&1
trap : TERM INT HUP
read -r stat </proc/$$/stat
fields=(\${stat##*') '})
echo "pid $$ \${fields[19]}" >&3
set -m
# Out of memory, the kernel takes the job's processes rather than the supervisor or the agent.
{ echo 500 >/proc/self/oom_score_adj; exec bash "$1"; } >&9 2>&9 3>&- 9>&- &
child=$!
set +m
while :; do
  wait "$child"
  code=$?
  # A signal ends the wait, not the step.
  if [ "$code" -le 128 ] || ! kill -0 "$child"; then break; fi
done
${filterWait(9)}
exec 6<"/proc/$$/fd/9"
autogit_i=0
while [ $autogit_i -lt 200 ]; do
  if ! read -r -t 0 -u 6; then
    # Hidden from the job's user, gone, or there is none.
    read -r stat <"/proc/$3/stat" || { sleep 0.05; break; }
    case "\${stat##*') '}" in [SZX]*) break ;; esac
  elif [ ! -e "/proc/$3" ]; then
    break
  fi
  sleep 0.01
  autogit_i=$((autogit_i + 1))
done
echo "exit $code" >&3
exec 3>&- 6<&- 9>&-
while [ "$2" = hold ] && kids= && { read -r kids </proc/$$/task/$$/children; [ -n "$kids" ]; }; do sleep 1; done
`;

/**
 * Begins the supervisor, and beside it a `cat` that brings a step's output from a pipe into its file: what opens its output by a name
 * (`echo … >/dev/stderr`, `tee /dev/stdout`) would cut a file off, with all that stands in it. Where the agent is root both are begun as root: the cat
 * outlives a job that kills all that it can, and brings what it said before. The pipe is the job's user's, else no name of it could be opened.
 * $1: UID:GID, or nothing; then the supervisor, which gets the cat's pid as its last argument. Descriptors 3 to 8 are as the supervisor had them before there
 * was this. It enters the groups, and the supervisor gets none of them: opened by root such a file takes any process of the machine, whoever writes to it, and the job's user
 * may take a descriptor of what has become that user.
 */
const feeder = `usual=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec 9> >(trap '' TERM INT HUP; PATH=$usual exec cat 2>/dev/null 3>&- 4>&- 5>&- 6>&- 7>&- 8>&-)
filter=$!
[ -z "$1" ] || PATH=$usual chown "$1" /proc/self/fd/9
shift
read -r stat <"/proc/$filter/stat"
fields=(\${stat##*') '})
echo "filter $filter \${fields[19]}" >&3
exec >/dev/null 2>&1
echo 0 >&4
echo 0 >&6; echo 0 >&7; echo 0 >&8
exec 4>&- 5>&- 6>&- 7>&- 8>&-
exec "$@" "$filter"
`;

/** Lays both into the agent's folder of a run, where they are not: one that an earlier version prepared has another supervisor, which may be running. */
export async function laySupervision(folder: string): Promise<void> {
  if (existsSync(feederFile(folder))) return;
  for (const [path, script] of [
    [supervisorFile(folder), supervisor],
    [feederFile(folder), feeder],
  ] as const) {
    await writeFile(`${path}.new`, script);
    // The agent's umask keeps all that it makes to itself; these are the job's to read.
    await chmod(`${path}.new`, 0o644);
    await rename(`${path}.new`, path);
  }
}

export const supervisorFile = (folder: string): string => join(folder, 'supervisor.sh');
export const feederFile = (folder: string): string => join(folder, 'feeder.sh');
