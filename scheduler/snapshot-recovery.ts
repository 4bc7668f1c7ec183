import type { NodeId } from '../protocol/ids.ts';
import type { Ledger } from '../protocol/ledger.ts';
import type { Attention } from '../protocol/status.ts';
import { jobTimings } from './jobs/job-timings.ts';
import { isBusy } from './jobs/jobs-state.ts';
import { listed, span } from './phrases.ts';
import { mayLiveUnseen, unseenIn } from './recovered.ts';
import { isHere, nodeName, type ViewInput } from './snapshot-view.ts';

/** Until all that were seen switched off are voters again, or forgotten. */
export function recoveryLines(view: ViewInput, { recovery, nodes, configuration }: Ledger): Attention[] {
  if (!recovery) return [];
  const away = recovery.off.filter((node) => Object.hasOwn(nodes, node) && !(node in configuration.voters));
  if (away.length === 0) return [];
  const names = listed(away.map((node) => nodeName(view.ledger, node)));
  const where = `${nodeName(view.ledger, recovery.by)} ${span(view.wallMs - recovery.at)} ago`;
  const sentence = `recovered by force on ${where}: what only ${names} knew is lost; ${away.length > 1 ? 'they vote' : 'it votes'} again when back`;
  return [{ code: 'recovered', severity: 'info', sentence, fix: null }];
}

/** Until each machine of the former era has come over, or a person says that it never will (SAFETY J1). */
export function formerEraLines(view: ViewInput, ledger: Ledger): Attention[] {
  const unseen = unseenIn(ledger);
  if (unseen.length === 0) return [];
  // Nobody should be told to forget a machine that has just come back.
  const away = unseen.filter((node) => !isHere(view, node));
  const back = unseen.filter((node) => isHere(view, node));
  const names = (nodes: readonly NodeId[]): string => listed(nodes.map((node) => nodeName(ledger, node)));
  const line = (sentence: string, fix: string | null): Attention => ({
    ...{ code: 'former-era', severity: 'info', sentence, fix },
  });
  const lines: Attention[] = [];
  if (away.length > 0) {
    const are = away.length > 1 ? 'are' : 'is';
    const which = away.length > 1 ? 'one of them' : 'it';
    const fix = `only if ${which} never comes back: autogit-node forget ${nodeName(ledger, away[0]!)}`;
    const waits = 'until then jobs go on only while GitLab answers';
    lines.push(line(`${names(away)} ${are} not known to follow the recovery: ${waits}`, fix));
  }
  if (back.length > 0) {
    const are = back.length > 1 ? 'are' : 'is';
    const after = span(jobTimings.cameOverMs);
    const sentence = `${names(back)} ${are} back after the recovery, and counted on again when heard for ${after}`;
    lines.push(line(sentence, null));
  }
  return [...lines, ...away.flatMap((node) => waitedForLines(ledger, node))];
}

/** What may go on there is not given up. */
function waitedForLines(ledger: Ledger, node: NodeId): Attention[] {
  const jobs = Object.values(ledger.runs).filter(
    (run) => isBusy(run) && run.node === node && mayLiveUnseen(ledger, run),
  );
  if (jobs.length === 0) return [];
  const name = nodeName(ledger, node);
  const numbers = jobs.slice(0, 5).map(({ job }) => `${job}`);
  const sentence = `nobody saw ${name} switched off: job ${listed(numbers)} may go on there, and is not given up before it is heard or removed`;
  return [
    {
      code: 'run-unheard',
      severity: 'warn',
      sentence,
      fix: `only if it never comes back: autogit-node forget ${name}`,
    },
  ];
}
