import { AutogitError } from '../../protocol/errors.ts';
import { agentOf, type Context } from './context.ts';
import { exit, requireDone } from './failure.ts';
import { promptOf } from './mesh-commands.ts';
import { sentence } from './output.ts';
import { ask, hasTerminal } from './prompt.ts';
import { gitlabLeft, gitlabWords, startHere } from './recover-gitlab.ts';

/**
 * `recover --force` (SAFETY L15). What only a person can know is asked of a person: that the machines which do not answer
 * are off, not merely unplugged. Each is typed by name; without a terminal `--off NAME` for each, and `--yes`. Whether a GitLab that
 * another machine hosts starts here is another question.
 */
export async function recover(context: Context): Promise<number> {
  const { settings, out } = context;
  if (!settings.isOn('recover.force'))
    throw new AutogitError('bad-flag', 'recover lets this machine go on alone, without a majority of the voters', {
      hint: 'look at status first; if the others are gone for good: autogit-node recover --force',
    });
  const agent = await agentOf(context);
  const { refused, off } = await agent.recovery();
  if (refused !== null) throw new AutogitError('unsupported', refused, { hint: 'autogit-node status' });
  for (const line of warning(off)) out.talk(line);
  const left = await gitlabLeft((await agent.status()).snapshot);
  for (const line of left === null ? [] : gitlabWords(left)) out.talk(line);
  const seen = await confirmed(context, off);
  const outcome = await agent.recover(seen);
  requireDone(outcome, 'autogit-node status');
  const isJson = settings.isOn('json');
  if (!isJson) sentence(out, outcome.because);
  if (left === null) {
    if (isJson) out.json(outcome);
    return exit.ok;
  }
  const started = await startHere(context, agent, left).catch((error: unknown) => {
    // This machine goes on alone all the same.
    if (isJson) out.json(outcome);
    throw error;
  });
  if (isJson) out.json({ ...outcome, gitlab: started });
  else if (started.isStarted) sentence(out, started.because);
  else out.talk(started.because);
  return exit.ok;
}

const warning = (off: readonly string[]): string[] =>
  off.length === 0
    ? ['This machine goes on alone; those that answer become voters again by themselves.']
    : [
        `This machine goes on alone, without ${off.join(', ')}.`,
        'A machine that is merely unplugged goes on by itself: then there are two meshes, and what one',
        'of the two has decided since is lost when they meet; one that sleeps wakes with its jobs.',
        `So go and look: ${off.length > 1 ? 'are they' : 'is it'} switched off?`,
      ];

/** The names that a person vouches for. */
async function confirmed(context: Context, off: readonly string[]): Promise<string[]> {
  const prompt = promptOf(context);
  const seen = context.settings.list('recover.off');
  const missing = off.filter((name) => !seen.includes(name));
  if (!hasTerminal(prompt) || prompt.yes) {
    if (missing.length === 0 && prompt.yes) return seen;
    const said =
      missing.length > 0 ? `that ${missing.join(' and ')} ${missing.length > 1 ? 'are' : 'is'} switched off` : 'yes';
    const flags = [...seen, ...missing].map((name) => ` --off ${name}`).join('');
    throw new AutogitError('no-terminal', `nobody has said ${said}`, {
      hint: `when somebody has seen it: autogit-node recover --force${flags} --yes`,
    });
  }
  for (const name of missing) {
    const typed = await ask(`To confirm that you have seen ${name} switched off, type its name:`, '', prompt);
    if (typed !== name)
      throw new AutogitError('bad-flag', `"${typed}" is not ${name}: nothing was done`, {
        hint: 'autogit-node recover --force',
      });
  }
  return [...seen, ...missing];
}
