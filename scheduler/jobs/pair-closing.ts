import type { Ledger } from '../../protocol/ledger.ts';
import type { LedgerEdit } from '../ledger-edit.ts';
import { note } from '../note.ts';
import type { WaitingJob } from './jobs-state.ts';
import type { JobsTurn } from './jobs-turn.ts';
import { canReadQueue } from './queue.ts';

const windowClosed = (because: string): LedgerEdit => ({
  name: 'pair-closed',
  because,
  apply: (now) => (now.pairUntil === 0 ? now : { ...now, pairUntil: 0 }),
});

/**
 * Whoever runs a job may send from this LAN, and an open pairing window lets in all that do (SAFETY, security A17). So
 * never both: the first job that wants to run closes the window, and its grant waits until that is committed.
 */
export function closesWindow(
  turn: JobsTurn,
  ledger: Ledger,
  committed: Ledger,
  waiting: readonly WaitingJob[],
): boolean {
  if (Math.max(ledger.pairUntil, committed.pairUntil) <= turn.wallMs) return false;
  const isWanted = canReadQueue(ledger)
    ? waiting.length > 0
    : Object.values(committed.classes).some(({ given }) => given);
  if (isWanted && ledger.pairUntil > turn.wallMs) {
    const because = 'a job wants to run: the pairing window is closed, from now on: autogit-node approve';
    note(turn, { event: 'pair-closed', level: 'warn', because });
    turn.edits.push(windowClosed(because));
  }
  return isWanted;
}

/** One that is over is closed for all: a machine whose clock is behind would hold it open, also as the next leader. */
export function closeWindowInTime(turn: JobsTurn, { pairUntil }: Ledger): void {
  if (pairUntil > 0 && pairUntil <= turn.wallMs) turn.edits.push(windowClosed('the pairing window is over'));
}
