import type { Ledger } from '../../protocol/ledger.ts';
import { hasUnseen } from '../recovered.ts';
import { fitAmong, successorsOf, whyNoFailover } from './failover-rules.ts';
import type { Hosting } from './hosted-edits.ts';
import { hostingTimings } from './hosting-timings.ts';
import type { HostingTurn } from './hosting-turn.ts';
import { wayBackOf } from './move-edits.ts';

/*
 * GitLab has moved and does not stand yet (SAFETY H7). Its new host says when it gives that up, and the leader goes by its silence; but its
 * agent may live and go on asking for leases while its engine is gone, or GitLab died between its first answer and the ledger's word.
 * So the leader counts too, and lets nobody try for ever what another machine might do.
 */

/** It was given its time, and there is where it could go on: no lease is given for this epoch any more. */
export function isTrialOver({ context, hosting, at }: HostingTurn, now: Hosting): boolean {
  const named = hosting.lead?.named;
  if (now.move?.to !== now.host || named?.epoch !== now.epoch || at < named.at + hostingTimings.trialMs) return false;
  return context.ledger !== null && hasElsewhere(context.ledger, now);
}

function hasElsewhere(ledger: Ledger, now: Hosting): boolean {
  if (now.ending?.drained) return false;
  if (wayBackOf(ledger) !== null) return !hasUnseen(ledger);
  return whyNoFailover(ledger, now) === null && fitAmong(ledger, successorsOf(now)).fit.length > 0;
}

/** Nobody else could go on: it has its time once more where it is. */
export function tryOn({ hosting, at }: HostingTurn): void {
  const { lead } = hosting;
  if (lead?.named) hosting.lead = { ...lead, question: null, named: { ...lead.named, at } };
}
