import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Lines } from '../cli/lines.ts';
import { confirm, hasTerminal } from '../cli/prompt.ts';
import type { JoinOptions } from '../settings.ts';
import type { Member } from './member.ts';
import { statusOf } from './views.ts';

const leaderPatienceMs = 15_000;
/** Newcomers that this terminal has asked about, by their words. */
const asked = new Set<string>();

/** On an approved node with somebody at its terminal, a newcomer is asked about on the spot. */
export function askForApprovals(
  ledger: Ledger,
  options: JoinOptions,
  lines: Lines,
  change: (change: Change) => Promise<ChangeOutcome>,
): void {
  for (const [node, { name, address, words, ignored }] of Object.entries(ledger.approvals)) {
    if (ignored || asked.has(words)) continue;
    asked.add(words);
    lines.wait('newcomer', `${name} (${address}) asks to be let in; it must show   ${words}`);
    if (!hasTerminal(options) || options.yes) continue;
    confirm(`Does ${name} show these words?`, false, options)
      .then(async (isSame) => {
        if (!isSame) return lines.say(`left waiting; to turn it away: autogit-node ignore ${name}`);
        const outcome = await change({ kind: 'approve', node, words, because: `by ${options.name}` });
        if (outcome.state === 'done') lines.ok('approved', outcome.because);
        else lines.warn('approval', outcome.because);
      })
      .catch((error: Error) => lines.warn('approval', error.message));
  }
}

/** Waits for a leader, then says what this machine joined. Without one it says which machines are missing. */
export async function joinedLine(member: Member, lines: Lines, signal: AbortSignal): Promise<void> {
  const end = performance.now() + leaderPatienceMs;
  while (!signal.aborted) {
    const { leader, gitlab, quorum, mesh } = statusOf(member.view());
    if (leader) {
      const where = gitlab.mode === 'none' ? 'no GitLab yet: autogit-node gitlab connect URL' : `GitLab ${gitlab.url}`;
      lines.ok('joined', `mesh ${mesh.name}, leader ${leader.node} (term ${leader.term}); ${where}`);
      lines.say('Running here; Ctrl-C leaves the mesh cleanly. To keep it running: autogit-node service install');
      return;
    }
    if (performance.now() > end) return lines.wait('leader', quorum.sentence);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
