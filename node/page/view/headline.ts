import type { StatusSnapshot } from '../../../protocol/status.ts';
import { plural, severityRank } from '../../../scheduler/phrases.ts';
import { attentionRows } from '../../faces/attention-rows.ts';
import { meshWords } from '../../faces/mesh-words.ts';
import { showDuration } from '../../settings/quantities.ts';
import type { PageState } from './page-state.ts';

interface Headline {
  tone: 'good' | 'warn' | 'fail';
  sentence: string;
  fix: string | null;
  /** All else that a person should look at, the worst first. */
  more: { severity: 'info' | 'warn' | 'fail'; sentence: string; fix: string | null }[];
}

/** The sentence on top: what is wrong and the fix, or that nothing is. Who waits to be let in has a place of its own. */
export function headlineOf(status: StatusSnapshot): Headline {
  // What may be lost is what follows from a machine that is gone: the cause is told first.
  const rank = ({ severity, sentence }: Headline['more'][number]): number =>
    2 * severityRank[severity] + (sentence === status.quorum.sentence ? 1 : 0);
  const known = new Set(status.waiting.map(({ words }) => words));
  const rows = attentionRows({ ...status, waiting: [] })
    .filter(({ sentence }) => ![...known].some((words) => words !== '' && sentence.includes(words)))
    .filter(({ fix }) => known.size === 0 || !fix?.startsWith('autogit-node approve'))
    // A terminal sets the machine off by a gap.
    .map((row) => ({ ...row, sentence: row.sentence.replace(/^(\S+) {2}/, '$1: ') }))
    .sort((a, b) => rank(a) - rank(b));
  const [first] = rows;
  if (first === undefined || first.severity === 'info')
    return { tone: 'good', sentence: wellWords(status), fix: null, more: rows };
  return {
    tone: first.severity === 'fail' ? 'fail' : 'warn',
    sentence: first.sentence,
    fix: first.fix,
    more: rows.slice(1),
  };
}

function wellWords({ nodes, leader, queue, gitlab }: StatusSnapshot): string {
  const machines = machinesWords(nodes.filter(({ state }) => !['gone', 'waiting'].includes(state)));
  const led = leader ? `, ${leader.node} leads` : '';
  const jobs =
    queue.running + queue.waiting === 0
      ? gitlab.mode === 'none'
        ? 'no GitLab is connected yet'
        : 'no job waits'
      : `${plural(queue.running, 'job')} ${queue.running === 1 ? 'runs' : 'run'}, ${queue.waiting} ${queue.waiting === 1 ? 'waits' : 'wait'}`;
  return `${machines}${led}; ${jobs}.`;
}

/** `2 of 3 machines work (1 paused)`: who is paused or drained is well, and takes no jobs. */
function machinesWords(here: StatusSnapshot['nodes']): string {
  // A machine whose GPU alone is paused takes jobs without one.
  const paused = here.filter((node) => node.state === 'paused' && node.paused !== 'gpu').length;
  const drained = here.filter(({ state }) => state === 'draining').length;
  const idle = [paused > 0 ? `${paused} paused` : null, drained > 0 ? `${drained} drained` : null].filter(Boolean);
  const working = here.length - paused - drained;
  if (here.length === 1)
    return working === 1 ? 'The machine works' : `The machine is ${paused > 0 ? 'paused' : 'drained'}`;
  if (idle.length === 0) return `All ${here.length} machines work`;
  const count = working === 0 ? `None of ${here.length}` : `${working} of ${here.length}`;
  return `${count} machines ${working <= 1 ? 'works' : 'work'} (${idle.join(', ')})`;
}

/** `3 nodes, leader kang (term 12, 3 h), can lose 1`, and why where that is none. */
export function houseWords(status: StatusSnapshot): string {
  const { canLose, sentence } = status.quorum;
  return `${meshWords(status)}${canLose === 0 && sentence !== '' ? `: ${sentence}` : ''}`;
}

/** Whose view it is and how old; or that nobody answers, and of when it is. `clock`: a wall time as people here write it. */
export function viewWords(
  state: PageState,
  nowMs: number,
  clock: (ms: number) => string,
): { tone: 'good' | 'warn' | 'fail'; text: string } {
  const { me, status, heardAtMs, lostAtMs, link } = state;
  const who = status?.seenFrom ?? me?.node ?? 'this agent';
  const shownOf = heardAtMs === null ? 'nothing was heard yet' : `what is shown is of ${clock(heardAtMs)}`;
  if (link === 'over')
    return {
      tone: 'fail',
      text: `this session has ended; ${shownOf}. A new link, on ${who}: autogit-node dashboard`,
    };
  if (link === 'lost')
    return {
      tone: 'fail',
      text: `${who} does not answer since ${showDuration(roundSeconds(nowMs - (lostAtMs ?? nowMs)))}; ${shownOf}. It is asked again by itself`,
    };
  if (link === 'opening' || status === null) return { tone: 'warn', text: `asking ${who}` };
  const ageMs = status.ageMs + Math.max(0, nowMs - (heardAtMs ?? nowMs));
  if (link === 'resting') return { tone: 'warn', text: `at rest while nobody looks; ${shownOf}` };
  return {
    tone: 'good',
    text: `as ${who} sees it, ${ageMs < 1000 ? 'now' : `${showDuration(roundSeconds(ageMs))} ago`}`,
  };
}

const roundSeconds = (ms: number): number => Math.max(0, Math.round(ms / 1000) * 1000);
