import type { NodeRow, StatusSnapshot } from '../../protocol/status.ts';
import { plural } from '../../scheduler/phrases.ts';
import { attentionRows } from '../faces/attention-rows.ts';
import { diskUse, machineUse, meshWords } from '../faces/mesh-words.ts';
import { shown, shownLines } from '../foreign-text.ts';
import { showBytes, showDuration, showShare } from '../settings/quantities.ts';
import { wrapped } from '../text-wrap.ts';
import { asPiped } from './call-name.ts';
import { localTimes } from './local-time.ts';
import { attentionLine, printTable, printTables } from './table.ts';

interface ViewForm {
  isTerminal: boolean;
  columns: number;
  wide: boolean;
}

const since = (at: string, now: string): string => showDuration(Date.parse(now) - Date.parse(at));

/** The mesh on one screen, from the same snapshot as `--json`. */
export function statusView(snapshot: StatusSnapshot, form: ViewForm): string {
  return form.isTerminal ? localTimes(shownLines(forPeople(snapshot, form))) : forPipe(snapshot);
}

function forPeople(snapshot: StatusSnapshot, form: ViewForm): string {
  const lines = [
    ...meshLines(snapshot, form),
    ...gitlabLines(snapshot, form),
    ...queueLines(snapshot, form),
    ...pageLines(snapshot, form),
    '',
    nodeTable(snapshot, form),
  ];
  const attention = attentionLines(snapshot, form);
  return [...lines, ...(attention.length > 0 ? ['', ...attention] : [])].join('\n');
}

const label = (text: string): string => `${text.padEnd(10)}  `;

const belowLabel = (sentence: string, columns: number): string[] =>
  wrapped(sentence, columns - label('').length).map((part) => `${label('')}${part}`);

/** A label and what stands behind it, in as many lines as it takes. */
function labelled(name: string, text: string, columns: number): string[] {
  const head = label(name);
  const [first = '', ...more] = wrapped(text, Math.max(24, columns - head.length));
  return [`${head}${first}`, ...more.map((part) => `${label('')}${part}`)];
}

/** What follows on the same line where it fits. */
function oneOrTwo(lines: string[], more: string, columns: number): string[] {
  const [first = '', second] = lines;
  if (more === '') return lines;
  return second === undefined && first.length + 3 + more.length <= columns
    ? [`${first}   ${more}`]
    : [...lines, `${label('')}${more}`];
}

function meshLines(
  { mesh, leader, nodes, quorum, at, seenFrom, ageMs }: StatusSnapshot,
  { columns }: ViewForm,
): string[] {
  const told = meshWords({ leader, nodes, quorum, at });
  const seen = `seen from ${seenFrom}, ${showDuration(ageMs)} ago`;
  const lines = oneOrTwo(labelled(`mesh ${shown(mesh.name)}`, told, columns), seen, columns);
  return quorum.canLose === 0 && quorum.sentence !== '' ? [...lines, ...belowLabel(quorum.sentence, columns)] : lines;
}

function gitlabLines({ gitlab, at }: StatusSnapshot, { columns }: ViewForm): string[] {
  if (gitlab.mode === 'none') return oneOrTwo([`${label('gitlab')}none`], '-> autogit-node gitlab deploy', columns);
  const where = gitlab.host === null ? '' : ` on ${gitlab.host}`;
  const backup = gitlab.lastBackup
    ? `backup ${since(gitlab.lastBackup.at, at)} ago, ${plural(gitlab.lastBackup.copies.length, 'cop').replace(/cops$/, 'copies').replace(/cop$/, 'copy')}`
    : '';
  const lines = oneOrTwo(
    oneOrTwo([`${label('gitlab')}${gitlab.state}${where}`], gitlab.url ?? '', columns),
    backup,
    columns,
  );
  // Why it is not healthy stands below, with what to do; a boot needs nothing to be done.
  if (gitlab.state === 'deploying' && gitlab.hosted)
    lines.push(...belowLabel(gitlab.hosted.progress?.phase ?? gitlab.hosted.because, columns));
  // With copies it is a long one; a screen that is redrawn cuts what does not fit.
  if (gitlab.forecast) lines.push(...belowLabel(gitlab.forecast.sentence, columns));
  if (gitlab.flag !== null) lines.push(...belowLabel(gitlab.flag, columns));
  return lines;
}

const queueLines = ({ queue }: StatusSnapshot, { columns }: ViewForm): string[] =>
  labelled(
    'queue',
    `${queue.waiting} waiting, ${queue.running} running, ${queue.doneToday} done today, ${queue.failedToday} failed`,
    columns,
  );

/** The way in is a link that is good once: it is printed when somebody asks for it. */
const pageLines = ({ page }: StatusSnapshot, { columns }: ViewForm): string[] =>
  page === undefined ? [] : oneOrTwo([`${label('page')}${page.url}`], '-> autogit-node dashboard', columns);

const usedOf = (node: NodeRow): { cpu: string; memory: string } => {
  const use = machineUse(node);
  return use === null
    ? { cpu: '-', memory: '-' }
    : { cpu: `${use.cpuPercent}%`, memory: showShare(use.memoryBytes, use.ofBytes) };
};

function gpusOf(node: NodeRow): string {
  const gpus = node.capacity?.gpus ?? [];
  if (gpus.length === 0) return '-';
  const cards = gpus.map((gpu) => {
    const room = node.room?.gpus.find((candidate) => candidate.uuid === gpu.uuid);
    if (!room) return gpu.model;
    // A card that fails is `foreign` as well, for nodes that know nothing else; its owner has nothing to do with it.
    if (room.problem !== undefined) return `${gpu.model} (fails)`;
    return room.foreign ? `${gpu.model} (owner)` : `${gpu.model} ${Math.round(room.busyPercent)}%`;
  });
  return cards.length > 2 ? `${cards[0]} +${cards.length - 1}` : cards.join(', ');
}

const seenOf = (node: NodeRow): string =>
  node.self ? 'now' : node.lastHeardMs === null ? '-' : showDuration(node.lastHeardMs);

function nodeTable({ nodes }: StatusSnapshot, form: ViewForm): string {
  const head = ['  NODE', 'STATE', 'RUNS', 'CPU', 'MEMORY', 'GPU', 'SEEN', 'VERSION'];
  const wide = ['VOTER', 'OWNER', 'ARCH', 'DISK', 'ADDRESS', 'LABELS', 'ID'];
  const rows = nodes.map((node) => {
    const { cpu, memory } = usedOf(node);
    const name = `${node.self ? '*' : ' '} ${node.node}`;
    const row = [
      name,
      // Jobs without a GPU still come.
      node.state === 'paused' && node.paused === 'gpu' ? 'gpu paused' : node.state,
      String(node.runs.length),
      cpu,
      memory,
      gpusOf(node),
      seenOf(node),
      node.version ?? '-',
    ];
    return form.wide ? [...row, ...wideCells(node)] : row;
  });
  if (form.wide) return printTables({ head: [...head, ...wide], rows }, form.columns);
  return printTable({ head, rows, spare: ['VERSION', 'SEEN', 'MEMORY', 'CPU', 'GPU'] }, form);
}

function diskOf(node: NodeRow): string {
  const disk = diskUse(node);
  return disk ? showShare(disk.diskBytes, disk.ofBytes) : node.capacity ? showBytes(node.capacity.diskBytes) : '-';
}

const wideCells = (node: NodeRow): string[] => [
  node.voter ? 'yes' : 'no',
  node.owner ?? '-',
  node.arch ?? '-',
  diskOf(node),
  node.address ?? '-',
  node.labels.join(',') || '-',
  node.id,
];

/** Where something is wrong, the last line says where more of it stands. */
function attentionLines(snapshot: StatusSnapshot, { columns }: ViewForm): string[] {
  const lines = attentionRows(snapshot).map(({ sentence, fix }) =>
    attentionLine(sentence, hereOf(snapshot, fix), columns),
  );
  const isWrong = snapshot.attention.some(({ severity }) => severity !== 'info');
  return isWrong ? [...lines, attentionLine('what that means, and costs', 'autogit-node runbook', columns)] : lines;
}

/** What is to be typed on this machine, without saying where. */
const hereOf = ({ nodes }: StatusSnapshot, fix: string | null): string | null => {
  const self = nodes.find((node) => node.self)?.node;
  const where = `on ${self}: `;
  return self !== undefined && fix?.startsWith(where) ? fix.slice(where.length) : fix;
};

const typedHere = (snapshot: StatusSnapshot, fix: string | null): string | null => {
  const here = hereOf(snapshot, fix);
  return here === null ? null : asPiped(here);
};

/** One record a line, its kind first: `autogit-node status | grep ^node`. Times are RFC 3339, sizes bytes. */
function forPipe(snapshot: StatusSnapshot): string {
  const { mesh, leader, quorum, gitlab, queue, page } = snapshot;
  const rows: (string | number | null)[][] = [
    [
      'mesh',
      mesh.name,
      mesh.id,
      leader?.node ?? null,
      leader?.term ?? null,
      quorum.canLose,
      snapshot.seenFrom,
      snapshot.at,
    ],
    ['gitlab', gitlab.mode, gitlab.state, gitlab.host, gitlab.url, gitlab.lastBackup?.at ?? null],
    ['queue', queue.waiting, queue.running, queue.doneToday, queue.failedToday],
    ...(page === undefined ? [] : [['page', page.url]]),
    ...snapshot.nodes.map((node) => {
      const { cpu, memory } = usedOf(node);
      return [
        'node',
        node.node,
        node.state,
        node.runs.length,
        cpu,
        memory,
        gpusOf(node),
        node.lastHeardMs,
        node.version,
      ];
    }),
    ...snapshot.waiting.map((row) => ['waiting', row.node, row.address, row.words, row.since]),
    ...snapshot.attention.map((row) => [
      'attention',
      row.severity,
      row.code,
      row.sentence,
      typedHere(snapshot, row.fix),
    ]),
  ];
  const cells = rows.map((row) => row.map((cell) => (cell === null ? '-' : String(cell))));
  return printTable({ head: [], rows: cells }, { isTerminal: false, columns: Number.POSITIVE_INFINITY });
}

/** True when a script should be told: no leader, a failed GitLab, or attention of severity `fail`. */
export const isUnhealthy = (snapshot: StatusSnapshot): boolean =>
  snapshot.leader === null ||
  snapshot.gitlab.state === 'failed' ||
  snapshot.attention.some(({ severity }) => severity === 'fail');
