import { sentenceOf } from '../../protocol/errors.ts';
import type { Log } from '../log.ts';
import type { Progress } from '../progress-lines.ts';
import { type Removal, removedSentence, writeRemoval } from '../store/removal.ts';
import type { Member } from './member.ts';

/** ms that the runs of a removed machine get to end; what is left then is swept at the next start of its agent. */
const dropMs = 15_000;

/** The mesh has removed this machine: its runs end, a GitLab that it ran too, and the next start finds the note of it. `wasIn`: this process had been in the mesh. */
export async function undergoRemoval(
  member: Member,
  removal: Removal,
  { home, log, lines, wasIn }: { home: string; log: Log; lines: Progress; wasIn: boolean },
): Promise<void> {
  const sentence = removedSentence(removal);
  try {
    writeRemoval(home, removal);
  } catch (error) {
    // On a full disk its runs end all the same; the next start asks the mesh, and is told again.
    lines.warn('removed', `the note of it could not be written: ${sentenceOf(error)}`);
  }
  log.event({ event: 'removed', because: sentence, fields: { mesh: removal.mesh }, level: 'warn' });
  if (wasIn) lines.fail('removed', `${sentence}. To ask again: autogit-node join`);
  await Promise.all([dropRuns(member, 'the mesh removed this machine'), member.hosting.removed()]);
}

async function dropRuns({ runs }: Member, because: string): Promise<void> {
  const dropped = Promise.allSettled(runs.runs().map(({ run }) => runs.drop(run, because)));
  await Promise.race([
    dropped.then(() => runs.giveBack()),
    new Promise((resolve) => setTimeout(resolve, dropMs).unref()),
  ]);
}
