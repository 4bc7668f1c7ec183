import { AutogitError } from '../../protocol/errors.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { shown, shownLines } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { showDuration } from '../settings/quantities.ts';
import { agentOf, type Context } from './context.ts';
import { exit, requireDone } from './failure.ts';
import { promptOf } from './mesh-commands.ts';
import { confirm, hasTerminal } from './prompt.ts';

type GitlabView = StatusSnapshot['gitlab'];
const statusHint = 'look at it: autogit-node gitlab';

async function hosted(agent: AgentClient): Promise<{ gitlab: GitlabView; data: string; self: string }> {
  const { snapshot } = await agent.status();
  const data = snapshot.gitlab.hosted?.data;
  if (snapshot.gitlab.mode !== 'hosted' || data === undefined)
    throw new AutogitError('no-gitlab', 'this mesh runs no GitLab itself', { hint: 'autogit-node gitlab deploy' });
  return { gitlab: snapshot.gitlab, data, self: snapshot.seenFrom };
}

/** `gitlab clear-flag`: it moved by itself too often, and may again. */
export async function clearFlag(context: Context): Promise<number> {
  const { settings, out } = context;
  const agent = await agentOf(context);
  const { data, gitlab } = await hosted(agent);
  const outcome = await agent.change({ kind: 'clear-gitlab-flag', data });
  requireDone(outcome, statusHint);
  const { because } = outcome;
  if (settings.isOn('json')) out.json({ state: 'done', wasFlagged: gitlab.flag, because });
  else out.data(shownLines(because));
  return exit.ok;
}

/** `gitlab take-over NODE`: what the mesh would not start by itself, by a person who is told what is missing there. */
export async function takeOver(context: Context): Promise<number> {
  const { settings, out } = context;
  const agent = await agentOf(context);
  const to = context.args[0] as string;
  const { data, gitlab, self } = await hosted(agent);
  const copy = gitlab.standbys?.find(({ node }) => node === to);
  if (!copy && gitlab.host !== to)
    throw new AutogitError('unsupported', `${to} holds no copy of GitLab`, {
      hint: 'who does: autogit-node gitlab copies',
    });
  // On its host, where it did not come up, nothing can be lost by another try.
  if (copy && !(await isWanted(context, takeOverQuestion(gitlab, to, copy), to))) return exit.failed;
  const because = asSentence(`a person said so on ${self}`);
  const change = { kind: 'start-gitlab-at', data, epoch: gitlab.epoch, to, because } as const;
  const outcome = await agent.change(change);
  requireDone(outcome, statusHint);
  if (settings.isOn('json')) out.json({ state: 'asked', to, because: outcome.because });
  else out.data(`${shownLines(outcome.because)}   -> autogit-node gitlab`);
  return exit.ok;
}

function takeOverQuestion(
  { host }: GitlabView,
  to: string,
  { ageMs, inSync }: NonNullable<GitlabView['standbys']>[number],
): string {
  const age =
    ageMs === null
      ? 'nobody knows how old its copy is'
      : `its copy is ${showDuration(Math.round(ageMs / 1000) * 1000)} old`;
  const loss = inSync
    ? 'It has every push that was acknowledged.'
    : `${age[0]!.toUpperCase()}${age.slice(1)}: what was written later is on ${host} alone, is kept there, and is not in what goes on.`;
  return `GitLab's host ${host} must be gone for good, or for long: nothing happens while it answers. Have GitLab go on at ${to}? ${loss}`;
}

async function isWanted(context: Context, question: string, to: string): Promise<boolean> {
  const prompt = promptOf(context);
  if (prompt.yes) return true;
  if (!hasTerminal(prompt))
    throw new AutogitError('no-terminal', `nobody here can say that GitLab shall go on at ${shown(to)}`, {
      hint: 'the same command with --yes',
    });
  return confirm(shownLines(question), false, prompt);
}
