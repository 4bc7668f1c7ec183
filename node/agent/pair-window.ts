import type { Clock } from '../clock.ts';
import type { Progress } from '../progress-lines.ts';
import type { Member } from './member.ts';

/** Opens the window in which machines of the LAN are let in unasked, and says when it closes. What is returned ends that. */
export async function openPairWindow(
  member: Member,
  forMs: number,
  clock: Clock,
  lines: Progress,
): Promise<() => void> {
  const minutes = Math.round(forMs / 60_000);
  const outcome = await member.changes.ask({ kind: 'pair', until: clock.wallMs() + forMs });
  if (outcome.state !== 'done') {
    lines.warn('pair', outcome.because);
    return () => {};
  }
  lines.ok('pair', `machines of this LAN are let in without a question for ${minutes} min`);
  const closes = setTimeout(() => lines.ok('pair', 'the window is closed; from now on: approve'), forMs);
  return () => clearTimeout(closes);
}
