import type { KnownAct } from '../../protocol/notices.ts';
import type { Attention, StatusSnapshot } from '../../protocol/status.ts';
import { plural } from '../phrases.ts';
import { endedAt, type HappenedLine } from './happened.ts';
import { worse } from './severity.ts';

/** What is wrong, once: whatever else comes of it stands in `so`. `key` stays the same while its figures change. */
export interface Cause {
  key: string;
  code: string;
  severity: Attention['severity'];
  sentence: string;
  fix: string | null;
  so: string[];
  act: KnownAct | null;
  /** Wall ms when it happened last, of what is over: it is told once. Null: it lasts. */
  once: number | null;
  /** What happened because of it, by the keys that it would have alone: told with this, it is told. */
  with: { key: string; at: number; severity: Attention['severity']; sentence: string }[];
}

/** More than these at once are one more cause, of which the number is told. */
const causesMost = 20;
const many = 'many';

/** The mesh decides nothing then, and whatever else is wrong is not known from here. */
const blinding = new Set(['no-link', 'no-quorum', 'no-leader', 'not-approved']);
const ofAway = new Set(['node-gone', 'node-suspect']);
/** Where GitLab cannot be read, these say the same of a part of it. */
const ofGitlabAway = new Set([
  ...['gitlab-away', 'gitlab-slow', 'gitlab-forward', 'gitlab-not-served', 'gitlab-people'],
  ...['runner-lost', 'webhook-problem', 'result-given-up'],
]);
/** They name each machine and why it does not do, those that are away as well: none of these is the reason. */
const ofAll = new Set(['tags-unsatisfiable']);
const gitlabAway = new Set(['gitlab-unreachable', 'gitlab-token']);

/** Whom nobody needs to be told of, or only while jobs wait: it is the owner's own wish. */
function rings({ code, severity }: Attention, { queue }: StatusSnapshot): boolean {
  if (severity !== 'info') return true;
  return code === 'machine-waiting' || (code === 'gpu-paused' && queue.waiting > 0);
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
const mentions = (sentence: string, name: string): boolean =>
  new RegExp(`(?<![\\w-])${escaped(name)}(?![\\w-])`).test(sentence);

/** The machine that it is about, where it names one. */
const subjectOf = ({ sentence }: Attention, names: readonly string[]): string | null =>
  names.find((name) => sentence.startsWith(`${name} `)) ?? names.find((name) => mentions(sentence, name)) ?? null;

function actOf(line: Attention, subject: string | null, { waiting }: StatusSnapshot): KnownAct | null {
  if (line.code === 'gpu-paused' && subject !== null) return { act: 'resume-gpu', node: subject };
  const newcomer = line.code === 'machine-waiting' ? waiting.find(({ node }) => node === subject) : undefined;
  return newcomer === undefined ? null : { act: 'approve', node: newcomer.node, words: newcomer.words };
}

/** Which of them is the reason of this one; null: it stands for itself. */
function rootOf(line: Attention, causes: readonly Cause[], { gitlab }: StatusSnapshot): Cause | null {
  const away = causes.filter(({ code }) => ofAway.has(code));
  if (!ofAway.has(line.code)) {
    const host = away.find(({ key }) => gitlab.host !== null && key.endsWith(` ${gitlab.host}`));
    if (host && /^gitlab-/.test(line.code)) return host;
    const named = ofAll.has(line.code)
      ? undefined
      : away.find(({ key }) => mentions(line.sentence, key.slice(key.indexOf(' ') + 1)));
    if (named) return named;
    if (line.code === 'quorum-at-risk' && away[0]) return away[0];
  }
  const unread = causes.find(({ code }) => gitlabAway.has(code));
  return unread && ofGitlabAway.has(line.code) ? unread : null;
}

/**
 * What is wrong in the mesh, each cause once, the worst first; never more than a few dozen. `open`: keys that were told already.
 * `happened`: what nothing of `status` says any more.
 */
export function causesOf(
  status: StatusSnapshot,
  open: ReadonlySet<string> = new Set(),
  happened: readonly HappenedLine[] = [],
): Cause[] {
  const lines: Line[] = [...status.attention.filter((line) => rings(line, status)), ...happened];
  const blind = lines.find(({ code }) => blinding.has(code));
  if (blind) return [causeOf(blind, status)];
  const isRoot = ({ code }: Attention): boolean => ofAway.has(code) || gitlabAway.has(code);
  // What others may come of is looked at first: machines before GitLab, which may be on one of them.
  const ordered = [...lines].sort((a, b) => order(a.code) - order(b.code));
  const causes: Cause[] = [];
  for (const line of ordered) {
    const root = rootOf(line, causes, status);
    if (root) join(root, line);
    else {
      const cause = causeOf(line, status);
      const same = causes.find(({ key }) => key === cause.key);
      if (same) join(same, line);
      else causes.push(cause);
    }
  }
  return limited(
    causes.sort((a, b) => worse(b.severity) - worse(a.severity) || Number(isRoot(b)) - Number(isRoot(a))),
    open,
  );
}

type Line = Attention | HappenedLine;
const hasHappened = (line: Line): line is HappenedLine => 'at' in line;

const order = (code: string): number => (ofAway.has(code) ? 0 : gitlabAway.has(code) ? 1 : 2);

function causeOf(line: Line, status: StatusSnapshot): Cause {
  const names = [...status.nodes, ...status.waiting].map(({ node }) => node).sort((a, b) => b.length - a.length);
  const subject = subjectOf(line, names);
  const { code, severity, sentence, fix } = line;
  const ended = endedAt(line, status);
  // How it ended is another matter than that it is under way.
  const about = `${code}${subject === null ? '' : ` ${subject}`}${ended === null ? '' : ` ${ended}`}`;
  const key = (hasHappened(line) ? line.key : about).slice(0, 160);
  const once = hasHappened(line) ? line.at : ended === null ? null : 0;
  const said = { key, code, severity, sentence: plain(sentence), fix };
  return { ...said, so: [], act: actOf(line, subject, status), once, with: [] };
}

/** A row's name and what is said of it, as one sentence. */
const plain = (sentence: string): string => sentence.replace(/ {2,}/, ': ');

function join(root: Cause, line: Line): void {
  root.so.push(plain(line.sentence));
  if (hasHappened(line)) root.with.push(line);
  if (worse(line.severity) > worse(root.severity)) root.severity = line.severity;
}

function limited(causes: readonly Cause[], open: ReadonlySet<string>): Cause[] {
  if (causes.length <= causesMost) return [...causes];
  const first = [...causes].sort((a, b) => Number(open.has(b.key)) - Number(open.has(a.key)));
  const rest = first.slice(causesMost);
  const severity = rest.reduce<Cause['severity']>(
    (worst, one) => (worse(one.severity) > worse(worst) ? one.severity : worst),
    'info',
  );
  return [
    ...first.slice(0, causesMost),
    {
      key: many,
      code: many,
      severity,
      sentence: `${plural(rest.length, 'more thing')} ${rest.length === 1 ? 'needs' : 'need'} attention`,
      fix: 'autogit-node status',
      so: [],
      act: null,
      once: null,
      with: [],
    },
  ];
}
