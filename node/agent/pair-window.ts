import type { Clock } from '../clock.ts';
import type { Progress } from '../progress-lines.ts';
import type { Member } from './member.ts';

/** ms until the close is asked for again where nobody led. */
const askAgainMs = 10_000;

/** Opens the window in which machines of the LAN are let in unasked, and closes it. What is returned ends that. */
export async function openPairWindow(
  member: Pick<Member, 'changes' | 'ledger'>,
  forMs: number,
  clock: Clock,
  lines: Progress,
): Promise<() => void> {
  const minutes = Math.round(forMs / 60_000);
  const until = clock.wallMs() + forMs;
  const outcome = await member.changes.ask({ kind: 'pair', until });
  if (outcome.state !== 'done') {
    lines.warn('pair', outcome.because);
    return () => {};
  }
  lines.ok('pair', `machines of this LAN are let in without a question for ${minutes} min`);
  let timer = setTimeout(() => {
    lines.ok('pair', 'the window is closed; from now on: approve');
    void close();
  }, forMs);
  // Another machine's clock may be behind by hours: it would hold the window open as long.
  const close = async (): Promise<void> => {
    if (member.ledger()?.pairUntil !== until) return;
    const closed = await member.changes.ask({ kind: 'pair', until: 0 });
    if (closed.state === 'unknown') timer = setTimeout(() => void close(), askAgainMs);
  };
  return () => clearTimeout(timer);
}
