import { AutogitError } from '../../protocol/errors.ts';
import { entryIn, namesIn, readRunbook } from '../metrics/runbook.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';

/** `runbook [name]`: what an alert or a code of attention means, costs and asks for; without a name of what `status` shows now. */
export async function runbook(context: Context): Promise<number> {
  const text = readRunbook();
  const [name] = context.args;
  const names = name === undefined ? await codesNow(context) : [name];
  const entries = [...new Set(names.map((one) => entryIn(text, one)))].filter((entry) => entry !== null);
  if (name !== undefined && entries.length === 0)
    throw new AutogitError('bad-flag', `the runbook has no entry "${name}"`, {
      hint: `its names: ${namesIn(text).join(' ')}`,
    });
  if (entries.length === 0) context.out.talk('autogit-node status has nothing that needs attention');
  else context.out.data(entries.join('\n\n'));
  return exit.ok;
}

async function codesNow(context: Context): Promise<string[]> {
  const { snapshot } = await (await agentOf(context)).status();
  return snapshot.attention.map(({ code }) => code);
}
