import { userInfo } from 'node:os';
import type { Change } from '../../protocol/changes.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { parseDuration, showDuration } from '../quantities.ts';
import type { AgentClient } from '../socket-client.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { confirm, hasTerminal, type PromptOptions } from './prompt.ts';

export const promptOf = ({ settings, signal }: Context): PromptOptions => ({
  input: settings.isOn('input'),
  yes: settings.isOn('yes'),
  signal,
});

/** Asks the mesh for a change and says how it ended: exit 0 only when it is committed. */
async function change(context: Context, agent: AgentClient, asked: Change): Promise<number> {
  const outcome = await agent.change(asked);
  if (context.settings.isOn('json')) context.out.json(outcome);
  else if (outcome.state === 'done') context.out.data(outcome.because);
  if (outcome.state === 'done') return exit.ok;
  if (outcome.state === 'refused')
    throw new AutogitError('unsupported', outcome.because, { hint: 'autogit-node status shows the mesh' });
  throw new AutogitError('no-leader', `it is not known whether this was done: ${outcome.because}`, {
    hint: 'look at autogit-node status, and ask again',
  });
}

const said = async (context: Context, sentence: Promise<string>): Promise<number> => {
  const text = await sentence;
  if (context.settings.isOn('json')) context.out.json({ said: text });
  else context.out.data(text);
  return exit.ok;
};

export const leave = async (context: Context): Promise<number> => said(context, (await agentOf(context)).leave());

/** Without a name: the only machine that waits, after its words were compared. */
export async function approve(context: Context): Promise<number> {
  const agent = await agentOf(context);
  const { waiting } = (await agent.status()).snapshot;
  const words = context.settings.text('approve.words');
  const asked = context.args[0];
  const fits = waiting.filter((row) => asked === undefined || [row.node, row.id].includes(asked));
  if (asked === undefined && words === null) {
    if (fits.length === 0)
      throw new AutogitError('no-mesh', 'no machine waits to be let in', {
        hint: 'on the other machine: autogit-node join',
      });
    if (fits.length > 1)
      throw new AutogitError(
        'bad-flag',
        `${fits.length} machines wait: ${fits.map(({ node, words: shown }) => `${node} (${shown})`).join(', ')}`,
        {
          hint: `autogit-node approve ${fits[0]?.node}`,
        },
      );
    const only = fits[0] as (typeof fits)[number];
    const question = `${only.node} at ${only.address} shows   ${only.words}   Does it say the same?`;
    if (!hasTerminal(promptOf(context)) && !context.settings.isOn('yes'))
      throw new AutogitError('no-terminal', `nobody can compare the words of ${only.node}: ${only.words}`, {
        hint: `autogit-node approve ${only.node}`,
      });
    if (!(await confirm(question, false, { ...promptOf(context), yes: false })))
      throw new AutogitError('not-approved', `${only.node} was not let in`);
  }
  const node = asked ?? (words === null ? (fits[0]?.id ?? null) : null);
  return change(context, agent, { kind: 'approve', node, words, because: `approved by ${userName()}` });
}

function userName(): string {
  try {
    return userInfo().username.slice(0, 64);
  } catch {
    return 'a user of the machine';
  }
}

const nodeOf = (context: Context): string => context.args[0] as string;
const changing =
  (make: (context: Context) => Change) =>
  async (context: Context): Promise<number> =>
    change(context, await agentOf(context), make(context));

export const ignore = changing((context) => ({ kind: 'ignore', node: nodeOf(context) }));
export const drain = changing((context) => ({ kind: 'drain', node: nodeOf(context), drained: true }));
export const undrain = changing((context) => ({ kind: 'drain', node: nodeOf(context), drained: false }));

/** For good, so a person on a terminal is asked. */
export async function forget(context: Context): Promise<number> {
  const agent = await agentOf(context);
  const prompt = promptOf(context);
  const question = `Remove ${nodeOf(context)} for good? It must be let in again to come back.`;
  if (hasTerminal(prompt) && !prompt.yes && !(await confirm(question, false, prompt))) return exit.failed;
  return change(context, agent, { kind: 'forget', node: nodeOf(context) });
}

export async function invite(context: Context): Promise<number> {
  const { out, settings } = context;
  const answer = await (await agentOf(context)).invite(settings.number('inviteFor') ?? 900_000);
  if (settings.isOn('json')) out.json({ code: answer.code, expiresAt: new Date(answer.expiresAt).toISOString() });
  else {
    out.data(out.isTerminal ? `autogit-node join --invite ${answer.code}` : answer.code);
    out.talk(`good for one machine, for ${showDuration(answer.expiresAt - Date.now())}`);
  }
  return exit.ok;
}

export const pause = async (context: Context): Promise<number> =>
  said(
    context,
    (await agentOf(context)).pause(
      context.settings.isOn('pause.gpu') ? 'gpu' : 'all',
      context.settings.number('pause.for'),
    ),
  );

export const resume = async (context: Context): Promise<number> =>
  said(context, (await agentOf(context)).resume(context.settings.isOn('resume.gpu') ? 'gpu' : 'all'));

const meshSettings = ['retryLost', 'defaultArch', 'graceMs'] as const;
type MeshSetting = (typeof meshSettings)[number];

function settingValue(key: MeshSetting, text: string): boolean | number | string {
  if (key === 'defaultArch') {
    if (['amd64', 'arm64', 'riscv64'].includes(text)) return text;
    throw new AutogitError('bad-flag', `defaultArch is amd64, arm64 or riscv64, not "${text}"`);
  }
  if (key === 'graceMs') return /^\d+$/.test(text) ? Number(text) : parseDuration(text);
  if (['on', 'true', 'yes', '1'].includes(text)) return true;
  if (['off', 'false', 'no', '0'].includes(text)) return false;
  throw new AutogitError('bad-flag', `${key} is on or off, not "${text}"`);
}

export async function settings(context: Context): Promise<number> {
  const [key, value] = context.args;
  if (key !== undefined && !(meshSettings as readonly string[]).includes(key))
    throw new AutogitError('bad-flag', `the mesh has no setting "${key}"`, {
      hint: `one of ${meshSettings.join(', ')}`,
    });
  if (value !== undefined) {
    const known = key as MeshSetting;
    const asked: Change = { kind: 'set', key: known, value: settingValue(known, value) };
    return change(context, await agentOf(context), asked);
  }
  const agent = await agentOf(context);
  for (let tag: string | null = null; !context.signal.aborted; ) {
    const answer = await agent.settings(tag === null ? undefined : { tag, waitMs: 1000 });
    if (answer.tag !== tag) showSettings(context, answer.settings, key);
    if (!context.settings.isOn('settings.watch')) return exit.ok;
    tag = answer.tag;
  }
  return exit.interrupted;
}

function showSettings({ out, settings }: Context, all: object, key: string | undefined): void {
  const shown = Object.entries(all).filter(([name]) => key === undefined || name === key);
  if (settings.isOn('json')) out.json(Object.fromEntries(shown));
  else if (key !== undefined) for (const [, value] of shown) out.data(String(value));
  else for (const [name, value] of shown) out.data(`${name}${out.isTerminal ? ' = ' : '\t'}${value}`);
}
