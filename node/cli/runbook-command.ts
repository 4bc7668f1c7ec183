import { AutogitError } from '../../protocol/errors.ts';
import { listed } from '../../scheduler/phrases.ts';
import { entryIn, linksSpelt, namesIn, nearIn, readRunbook } from '../metrics/runbook.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { sentence } from './output.ts';

/** `runbook [name]`: what an alert or a code of attention means, costs and asks for; without a name of what `status` shows now; `list` has the names. */
export async function runbook(context: Context): Promise<number> {
  const text = readRunbook();
  const [name] = context.args;
  if (name === 'list') {
    context.out.data(namesIn(text).join('\n'));
    return exit.ok;
  }
  const names = name === undefined ? await codesNow(context) : [name];
  const entries = [...new Set(names.map((one) => entryIn(text, one)))].filter((entry) => entry !== null);
  if (name !== undefined && entries.length === 0) throw unknownEntry(text, name);
  if (entries.length === 0) context.out.talk('autogit-node status has nothing that needs attention');
  else for (const entry of entries) sentence(context.out, linksSpelt(entry));
  return exit.ok;
}

function unknownEntry(text: string, name: string): AutogitError {
  const near = nearIn(text, name);
  const all = 'all names: autogit-node runbook list';
  return new AutogitError('bad-flag', `the runbook has no entry "${name.slice(0, 80)}"`, {
    hint: near.length === 0 ? all : `did you mean ${listed(near, 'or')}? ${all[0]?.toUpperCase()}${all.slice(1)}`,
  });
}

async function codesNow(context: Context): Promise<string[]> {
  const { snapshot } = await (await agentOf(context)).status();
  return snapshot.attention.map(({ code }) => code);
}
