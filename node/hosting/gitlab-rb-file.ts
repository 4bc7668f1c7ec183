import { constants } from 'node:fs';
import { againstGate, againstGateWords, fitForGate, otherUrlIn } from './gitlab-rb.ts';
import { openUnlinked, readUnlinked } from './unlinked-file.ts';

const name = 'gitlab.rb';
/** The one that GitLab brings, with all its comments, has 180 KB. */
const bytesMost = 4 << 20;

/** `config`: the folder that is /etc/gitlab in the container. Null where nothing in it goes against the gate. */
export async function whyNoGate(config: string, url: string): Promise<string | null> {
  const ruby = await readUnlinked(config, name, bytesMost).catch(() => null);
  return ruby === null ? null : againstGateWords(againstGate(ruby, url));
}

/**
 * Of data that shall begin behind a gate: what goes against that is ended at the end of their gitlab.rb, with why. What was done and
 * what a person should know, as ends of a sentence.
 */
export async function fitGitlabRb(config: string, url: string): Promise<string[]> {
  const ruby = await readUnlinked(config, name, bytesMost);
  if (ruby === null) return [];
  const wrong = againstGate(ruby, url);
  const told: string[] = [];
  if (wrong.length > 0) {
    const file = await openUnlinked(config, name, constants.O_WRONLY | constants.O_APPEND);
    if (file === null) return [];
    try {
      // Whose file it is, and who may read it, stays so.
      await file.appendFile(fitForGate(wrong, 'GitLab answers its gate, in http on port 80'));
    } finally {
      await file.close();
    }
    told.push(`at the end of its config/gitlab.rb stands now what its gate needs, against ${linesOf(wrong)}`);
  }
  const other = otherUrlIn(ruby, url);
  const isGone = wrong.some(({ said }) => said.startsWith('external_url'));
  if (other !== null && !isGone)
    told.push(
      `its gitlab.rb says ${other}: who browses needs a proxy there, or that line taken out (docs/host-gitlab.md)`,
    );
  return told;
}

const linesOf = (wrong: readonly { line: number }[]): string =>
  `line${wrong.length === 1 ? '' : 's'} ${wrong.map(({ line }) => line).join(', ')}`;
