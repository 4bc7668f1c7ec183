import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { FencedName } from '../../protocol/fenced.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { listed, plural } from '../../scheduler/phrases.ts';
import { shown, shownLines } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { showBytes } from '../settings/quantities.ts';
import { projectOf, timeCell } from './backup-choice.ts';
import { agentOf, type Context } from './context.ts';
import { exit, failedWith } from './failure.ts';
import { hosted, watched } from './gitlab-backup.ts';
import { promptOf } from './mesh-commands.ts';
import { sentence } from './output.ts';
import { isAgreed } from './prompt.ts';
import { printTold } from './table.ts';
import { hearsMs, quietTimer, stopsWatching } from './watching.ts';

type Fenced = NonNullable<StatusSnapshot['gitlab']['fenced']>[number];

/** `gitlab fenced`: what machines keep of GitLab that they served until another one took over. */
export async function show(context: Context): Promise<number> {
  const { settings, out } = context;
  const { fenced = [] } = await hosted(await agentOf(context));
  if (settings.isOn('json')) {
    out.json(fenced);
    return exit.ok;
  }
  const rows = fenced.map((one) => [
    one.name,
    one.node,
    one.at === null ? '-' : timeCell(Date.parse(one.at), out),
    one.bytes === null ? '-' : showBytes(one.bytes),
    one.doing ?? one.brought?.because ?? '-',
  ]);
  if (rows.length === 0 && out.isTerminal)
    out.talk('no machine keeps anything that it served before another one took over');
  else
    out.data(
      printTold(
        { head: ['NAME', 'MACHINE', 'WRITTEN UTC', 'FREES', 'BROUGHT OVER'], rows, spare: ['WRITTEN UTC'] },
        out,
      ),
    );
  const [first] = fenced;
  if (out.isTerminal && first !== undefined)
    out.talk(
      `what is in it alone: autogit-node gitlab diff ${first.name}; a project of it: autogit-node gitlab restore ${first.name} --project PATH; delete it: autogit-node gitlab fenced drop ${first.name}`,
    );
  return exit.ok;
}

/** By its name, as a machine says that it keeps it. */
async function named(agent: AgentClient, wanted: string | undefined): Promise<Fenced> {
  const { fenced = [] } = await hosted(agent);
  const all = fenced.filter(({ name }) => name === wanted);
  if (all.length > 1) return ownOf(agent, all);
  const [found] = all;
  if (found) return found;
  const isName = wanted !== undefined && FencedName.safeParse(wanted).success;
  throw new AutogitError('backup', `no machine that was heard keeps ${isName ? wanted : shown(wanted ?? 'that')}`, {
    hint: 'which are kept: autogit-node gitlab fenced',
  });
}

/** Two machines may keep one of the same name: the one is meant on which it is typed. */
async function ownOf(agent: AgentClient, all: readonly Fenced[]): Promise<Fenced> {
  const { nodes } = (await agent.status()).snapshot;
  const own = all.find(({ node }) => nodes.some((one) => one.self && one.node === node));
  if (own) return own;
  throw new AutogitError('backup', `${listed(all.map(({ node }) => shown(node)))} keep a ${all[0]?.name} each`, {
    hint: 'type it on the one that is meant',
  });
}

/** `gitlab fenced drop NAME`: looked at first, so that a person knows what is in it alone. */
export async function drop(context: Context): Promise<number> {
  const { settings, out } = context;
  const agent = await agentOf(context);
  const one = await named(agent, context.args[0]);
  const room = one.bytes === null || one.bytes === 0 ? '' : `, which frees ${showBytes(one.bytes)} there`;
  const question = `Delete ${one.name} on ${shown(one.node)} for good${room}? ${await whatIsAlone(agent, one.name)}`;
  if (!(await isAgreed(`${one.name} shall be deleted`, question, promptOf(context)))) return exit.failed;
  const { said } = await agent.gitlabDropFenced({ name: one.name, on: one.node });
  if (settings.isOn('json')) out.json({ state: 'done', because: said });
  else sentence(out, said);
  return exit.ok;
}

/** In a sentence or two; that it cannot be told is one too. */
async function whatIsAlone(agent: AgentClient, name: string): Promise<string> {
  try {
    const { total, notes, files } = await agent.gitlabCompare({ with: name, from: 0 });
    const alone = files.reduce((sum, { then }) => sum + then, 0);
    const refs =
      total === 0
        ? 'Its repositories are as in what serves now'
        : `Between it and what serves now there are ${plural(total, 'difference')} of repositories (autogit-node gitlab diff ${name})`;
    const rows =
      notes.find((note) => note.includes('with which the mesh went on')) ?? 'rows of the database are not compared';
    return shownLines(
      `${refs}; ${alone === 0 ? 'no file' : plural(alone, 'file')} of artifacts and packages is in it alone; ${rows}.`,
    );
  } catch (error) {
    return shownLines(`What is in it alone could not be looked at (${sentenceOf(error)}).`);
  }
}

/** `gitlab restore fenced-EPOCH --project PATH`: beside the present one; all of it takes nobody's place. */
export async function bring(context: Context, agent: AgentClient, name: string): Promise<number> {
  const { settings, out } = context;
  const project = projectOf(settings);
  const one = await named(agent, name);
  if (project === null)
    throw new AutogitError('bad-flag', `${name} takes no place of what serves: the mesh went on without it`, {
      hint: `one project of it, beside the present one: autogit-node gitlab restore ${name} --project group/name`,
    });
  await agent.gitlabBringFenced({ name: one.name, on: one.node, project });
  const before = JSON.stringify(one.brought);
  let hasBegun = false;
  const quietFor = quietTimer();
  const end = await watched(context, agent, ({ fenced = [] }) => {
    const now = fenced.find((row) => row.name === one.name && row.node === one.node);
    if (now === undefined) return { isDone: false, because: `${one.node} says no more that it keeps ${one.name}` };
    hasBegun ||= now.doing !== null || JSON.stringify(now.brought) !== before;
    if (hasBegun && now.doing === null && now.brought !== null) return now.brought;
    // An agent that is started anew knows nothing of it.
    if (quietFor(now.doing !== null) < 2 * hearsMs) return null;
    return {
      isDone: false,
      because: `the agent of ${one.node} was ended meanwhile: what it began is beside ${project}`,
    };
  });
  if (end === null) return stopsWatching(context, 'restoring', 'it goes on by itself: autogit-node gitlab fenced');
  if (settings.isOn('json'))
    out.json({ state: end.isDone ? 'restored' : 'failed', of: one.name, because: end.because });
  if (!end.isDone) throw failedWith('backup', end.because, 'look at it: autogit-node gitlab fenced');
  if (!settings.isOn('json')) sentence(out, end.because);
  return exit.ok;
}
