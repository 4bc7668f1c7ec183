import type { TimelineEvent } from '../../protocol/history.ts';
import type { JobRow } from '../../protocol/job-rows.ts';
import type { NodeRow, StatusSnapshot } from '../../protocol/status.ts';
import { plural } from '../../scheduler/phrases.ts';
import { usedOf } from '../faces/mesh-words.ts';
import { pipelineName } from '../faces/pipeline-rows.ts';
import { shown } from '../foreign-text.ts';
import { traceParts } from '../page/view/trace-text.ts';
import { showDuration, showShare } from '../settings/quantities.ts';
import { wrapped } from '../text-wrap.ts';
import { shortTime } from './local-time.ts';
import { cut } from './table.ts';
import type { TopState } from './top-state.ts';

/** All that the live screen is made of. */
export interface TopSeen {
  snapshot: StatusSnapshot;
  jobs: readonly JobRow[];
  /** Oldest first. */
  events: readonly TimelineEvent[];
  /** Lines of `why`, where that is shown. */
  why: readonly string[];
  /** The end of a job's trace, where that is shown. */
  trace: string;
  /** Why nothing newer is known, and how old this is; null: it is of now. */
  away: string | null;
}

interface Screen {
  columns: number;
  rows: number;
  /** ms since the Unix epoch. */
  now: number;
}

/** A line, and how it stands out: a head, the chosen row, what is wrong, or not at all. */
export interface TopLine {
  text: string;
  look: 'plain' | 'head' | 'chosen' | 'bad' | 'dim';
}

const line = (text: string, look: TopLine['look'] = 'plain'): TopLine => ({ text, look });

/** The whole picture: as many lines as the screen has, none longer than it. `job`: the one that is chosen. */
export function topView(seen: TopSeen, state: TopState, screen: Screen): { lines: TopLine[]; job: number | null } {
  const head = headLines(seen, state, screen);
  const foot = line(footWords(state), 'dim');
  const room = Math.max(1, screen.rows - head.length - 1);
  const { lines, job } = state.isHelping
    ? { lines: helpLines, job: null }
    : state.why !== null
      ? { lines: seen.why.flatMap((text) => wrapped(shown(text), screen.columns)).map((text) => line(text)), job: null }
      : state.trace !== null
        ? { lines: traceLines(seen.trace, state.trace, screen.columns, room), job: null }
        : paneLines(seen, state, screen, room);
  const shownLines = lines.slice(0, room);
  const blank = Array.from({ length: room - shownLines.length }, () => line(''));
  const all = [...head, ...shownLines, ...blank, foot].slice(-screen.rows);
  return { lines: all.map(({ text, look }) => line(cut(shown(text), screen.columns), look)), job };
}

/** Its last lines, whole: a long one goes on below itself. */
function traceLines(trace: string, job: number, columns: number, room: number): TopLine[] {
  const text = traceParts(trace)
    .map((part) => part.text)
    .join('')
    .replace(/\t/g, '  ')
    .trimEnd();
  const piece = new RegExp(`.{1,${Math.max(1, columns)}}`, 'gu');
  const rows = text.split('\n').flatMap((row) => row.match(piece) ?? ['']);
  const shownRows =
    text === '' ? ['nothing yet; why it is where it is: Enter in the list of jobs'] : rows.slice(1 - room);
  return [line(`TRACE of job ${job}`, 'head'), ...shownRows.map((row) => line(row))];
}

function headLines(seen: TopSeen, state: TopState, screen: Screen): TopLine[] {
  const { mesh, leader, quorum, nodes, queue, gitlab, at, seenFrom } = seen.snapshot;
  const led = leader ? `leader ${leader.node} (term ${leader.term})` : 'no leader';
  const clock = new Date(at).toTimeString().slice(0, 8);
  const name = `mesh ${mesh.name}   ${plural(nodes.length, 'node')}, ${led}, can lose ${quorum.canLose}   ${clock} on ${seenFrom}`;
  const git = gitlab.mode === 'none' ? 'no GitLab' : `GitLab ${gitlab.state}${gitlab.host ? ` on ${gitlab.host}` : ''}`;
  const work = `${queue.waiting} waiting, ${queue.running} running, ${queue.doneToday} done today, ${queue.failedToday} failed`;
  const worst = seen.snapshot.attention[0];
  const machines = machineLines(seen.snapshot, state, screen.columns);
  // Of many machines those that do not fit are counted: the lower half has a third of the screen at least.
  const most = Math.max(2, Math.floor((screen.rows * 2) / 3) - 5);
  const hidden = machines.length - most;
  return [
    ...(seen.away === null ? [] : [line(seen.away, 'bad')]),
    line(name),
    line(`${git}   ${work}${state.isFrozen ? '   (stands still: space goes on)' : ''}`),
    ...(worst && worst.severity !== 'info'
      ? [line(`! ${worst.sentence}${worst.fix === null ? '' : `  -> ${worst.fix}`}`, 'bad')]
      : []),
    line(''),
    ...(hidden > 0
      ? [...machines.slice(0, most - 1), line(`… ${hidden + 1} more: a higher window, or / to filter`, 'dim')]
      : machines),
    line(''),
  ];
}

const bar = (share: number, width: number): string => {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width);
  return `[${'|'.repeat(full)}${' '.repeat(width - full)}]`;
};

const shareOf = (part: number | undefined, all: number | undefined): number | null =>
  part === undefined || !all ? null : Math.max(0, part / all);
const cpuOf = (row: NodeRow): number | null => shareOf(usedOf(row)?.cpuMillis, row.capacity?.cpuMillis);
const memoryOf = (row: NodeRow): number | null => shareOf(usedOf(row)?.memoryBytes, row.capacity?.memoryBytes);
const gpuOf = ({ room }: NodeRow): number | null =>
  room && room.gpus.length > 0 ? Math.max(...room.gpus.map(({ busyPercent }) => busyPercent)) / 100 : null;

/** The most first, but for names; who says nothing is last. */
function sorted(nodes: readonly NodeRow[], { sort, isReversed }: TopState): NodeRow[] {
  const figure = { cpu: cpuOf, memory: memoryOf, gpu: gpuOf, runs: (node: NodeRow) => node.runs.length };
  const byName = (a: NodeRow, b: NodeRow): number => (a.node < b.node ? -1 : 1);
  const order = (a: NodeRow, b: NodeRow): number =>
    (sort === 'name' ? 0 : (figure[sort](b) ?? -1) - (figure[sort](a) ?? -1)) || byName(a, b);
  const all = [...nodes].sort(order);
  return isReversed ? all.reverse() : all;
}

const has = (filter: string, ...texts: (string | null)[]): boolean =>
  filter === '' || texts.some((text) => text?.toLowerCase().includes(filter.toLowerCase()));

function machineLines({ nodes }: StatusSnapshot, state: TopState, columns: number): TopLine[] {
  const widthOfName = Math.min(24, Math.max(7, ...nodes.map(({ node }) => node.length + 2)));
  // Beside the two bars stand state and runs (18), their figures (2 x 14), two blanks, and who is there (10).
  const width = Math.max(4, Math.min(20, Math.floor((columns - widthOfName - 58) / 2)));
  const beforeBars = widthOfName + 18;
  const mark = (sort: TopState['sort'], text: string): string =>
    state.sort === sort ? `${text}${state.isReversed ? '^' : 'v'}` : text;
  const gauge = (share: number | null, words: string): string =>
    share === null ? '-'.padEnd(width + 2 + 12) : `${bar(share, width)} ${words.padEnd(11)}`;
  const cells = (name: string, word: string, runs: string, cpu: string, memory: string, more: string): string =>
    `${name.padEnd(widthOfName)} ${word.padEnd(10)} ${runs.padStart(4)}  ${cpu} ${memory} ${more}`.trimEnd();
  const head = cells(
    mark('name', 'MACHINE'),
    'STATE',
    mark('runs', 'RUNS'),
    mark('cpu', 'CPU').padEnd(width + 14),
    mark('memory', 'MEMORY').padEnd(width + 14),
    mark('gpu', 'OWNER, GPU'),
  );
  const rows = sorted(nodes, state).filter(({ node, state: word, labels, capacity }) =>
    has(state.filter, node, word, ...labels, ...(capacity?.gpus ?? []).map(({ model }) => model)),
  );
  return [
    line(head, 'head'),
    ...rows.flatMap((row) => {
      const { node, self, state: word, paused, runs, capacity, owner } = row;
      const [cpu, memory] = [cpuOf(row), memoryOf(row)];
      const text = cells(
        `${self ? '*' : ' '} ${node}`,
        word === 'paused' && paused === 'gpu' ? 'gpu paused' : word,
        String(runs.length),
        gauge(cpu, `${Math.round((cpu ?? 0) * 100)}%`),
        gauge(memory, showShare(Math.max(0, usedOf(row)?.memoryBytes ?? 0), capacity?.memoryBytes ?? 0)),
        owner === 'playing' ? 'plays' : owner === 'present' ? 'present' : '',
      );
      return [
        line(text, word === 'suspect' || word === 'gone' ? 'bad' : 'plain'),
        ...gpuTexts(row).map(([name, load, words, who]) =>
          line(
            // A card's name is longer than a machine's: it has the room of state and runs, too.
            [
              `    ${name}`.slice(0, beforeBars - 1).padEnd(beforeBars) + gauge(load, `${Math.round(load * 100)}%`),
              ...[words, who],
            ].join(' '),
            'plain',
          ),
        ),
      ];
    }),
  ];
}

const vendors = /^(?:NVIDIA (?:GeForce )?|AMD (?:Radeon )?|Intel (?:Arc )?)/;

/** Each card: its name, how busy it is, its memory in words, and who has it. */
function gpuTexts({ capacity, room, runs }: NodeRow): [string, number, string, string][] {
  return (capacity?.gpus ?? []).flatMap((gpu) => {
    const seen = room?.gpus.find(({ uuid }) => uuid === gpu.uuid);
    if (!seen) return [];
    const used = showShare(Math.max(0, gpu.memoryBytes - seen.memoryBytes), gpu.memoryBytes);
    const job = seen.held !== undefined && runs.length > 0 ? `a job (${runs.join(', ')})` : '';
    const who = seen.problem ?? (seen.foreign ? `its owner${seen.usedBy ? ` (${seen.usedBy})` : ''}` : job);
    return [[gpu.model.replace(vendors, ''), seen.busyPercent / 100, used, who]];
  });
}

function paneLines(
  { jobs, events, snapshot }: TopSeen,
  state: TopState,
  screen: Screen,
  room: number,
): { lines: TopLine[]; job: number | null } {
  const { filter } = state;
  if (state.pane === 'jobs') {
    const rows = jobs.filter((row) =>
      has(filter, String(row.job), row.name, row.project, row.ref, row.node, row.state, pipelineOf(row)),
    );
    const texts = rows.map((row) => jobText(row, screen.now));
    const { lines, chosen } = scrolled(texts, state.chosen, room - 1);
    const head = `${'JOB'.padEnd(9)} ${'STATE'.padEnd(9)} ${'MACHINE'.padEnd(14)} ${'TIME'.padEnd(7)} NAME, PROJECT AND WHY`;
    const empty = texts.length === 0 ? [line('no jobs wait or run', 'dim')] : [];
    return { lines: [line(head, 'head'), ...lines, ...empty], job: rows[chosen]?.job ?? null };
  }
  const texts =
    state.pane === 'events'
      ? [...events]
          .reverse()
          .filter((one) => has(filter, one.sentence, one.because, one.node))
          .map(eventText)
      : snapshot.attention
          .filter((one) => has(filter, one.sentence, one.code))
          .map(
            ({ severity, sentence, fix }) => `${severity.padEnd(4)} ${sentence}${fix === null ? '' : `  -> ${fix}`}`,
          );
  const { lines } = scrolled(texts, state.chosen, room - 1);
  const head = state.pane === 'events' ? 'EVENTS, the newest first' : 'WHAT NEEDS ATTENTION';
  return { lines: [line(head, 'head'), ...(texts.length === 0 ? [line('nothing', 'dim')] : lines)], job: null };
}

const pipelineOf = ({ pipeline }: JobRow): string | null => (pipeline === undefined ? null : pipelineName(pipeline));

function jobText(row: JobRow, now: number): string {
  const from = row.startedAt ?? row.queuedAt;
  const time = from === null ? '-' : showDuration(Math.max(0, now - Date.parse(from)));
  const of = [`${row.project}@${row.ref}`, pipelineOf(row)].filter((one) => one !== null).join(' ');
  return `${String(row.job).padEnd(9)} ${row.state.padEnd(9)} ${(row.node ?? '-').padEnd(14)} ${time.padEnd(7)} ${row.name}  ${of}  ${row.because}`;
}

const eventText = ({ at, severity, sentence, because }: TimelineEvent): string =>
  `${shortTime(new Date(at))} ${severity === 'info' ? '' : `${severity}: `}${sentence}${because === null ? '' : `: ${because}`}`;

/** A window of rows around the chosen one. */
function scrolled(texts: readonly string[], wanted: number, room: number): { lines: TopLine[]; chosen: number } {
  const chosen = Math.min(Math.max(0, texts.length - 1), wanted);
  const from = Math.max(0, Math.min(chosen - Math.floor(room / 2), texts.length - room));
  const lines = texts
    .slice(from, from + Math.max(0, room))
    .map((text, index) => line(text, from + index === chosen ? 'chosen' : 'plain'));
  return { lines, chosen };
}

function footWords({ isTyping, filter, isHelping, why, trace, pane, sort }: TopState): string {
  if (isTyping) return `filter: ${filter}_   (Enter keeps it, Esc takes it away)`;
  if (isHelping || why !== null || trace !== null) return 'any key: back   q: quit';
  const only = filter === '' ? '/ filter' : `only "${filter}" (Esc: all)`;
  return `q quit   s sort (${sort})   ${only}   Tab ${pane}   ${pane === 'jobs' ? 'Enter why   l trace   ' : ''}space stop   ? help`;
}

const helpLines: readonly TopLine[] = [
  ...['KEYS', ''].map((text) => line(text, 'head')),
  ...[
    's < >          sort machines by the next or the former figure',
    'N C M G R      sort by name, CPU, memory, GPU, runs',
    'r              the other way round',
    'Tab            jobs, events, what needs attention',
    'up down j k    choose a row; PgUp, PgDn, Home, End: further',
    'Enter w        why the chosen job is where it is',
    'l              the end of its trace, as it comes',
    '/              only machines, jobs and events with these letters; Esc: all',
    'space          stand still, and go on',
    'q Ctrl-C       end',
    '',
    'CPU and memory are what anything uses there, jobs or not.',
  ].map((text) => line(text)),
];
