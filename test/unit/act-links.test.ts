import { expect, it } from 'vitest';
import { answerTo } from '../../node/agent/answers.ts';
import { ActLinks } from '../../node/notices/act-links.ts';
import { Ask } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';

function links(perform: () => Promise<string>) {
  const made = new ActLinks({
    ...{ base: () => 'http://10.0.0.1:7118', perform, can: () => true },
    ...{ wallMs: () => 1_800_000_000_000, log: { info: () => undefined } },
  });
  const url = made.linkOf({ act: 'resume-gpu', node: 'n1' })?.url ?? '';
  const request = { path: new URL(url).pathname } as Parameters<ReturnType<ActLinks['path']>['answer']>[0];
  return () => made.path().answer(request);
}

it('a button does its thing once', async () => {
  const press = links(async () => 'done');
  expect(await press()).toMatchObject({ status: 200, body: '{"said":"done"}' });
  await expect(press()).rejects.toThrow('used already');
});

it('a button that could do nothing works when it is pressed again', async () => {
  let tries = 0;
  const press = links(async () => {
    tries += 1;
    if (tries === 1) throw new AutogitError('no-leader', 'nobody leads');
    return 'done';
  });
  await expect(press()).rejects.toThrow('nobody leads');
  expect(await press()).toMatchObject({ status: 200 });
});

it('a button that is pressed twice at once does its thing once; it is good for twelve hours, and at the agent alone that made it', async () => {
  let wallMs = 1_800_000_000_000;
  let done = 0;
  const agent = () =>
    new ActLinks({
      ...{ base: () => 'http://10.0.0.1:7118', can: () => true, wallMs: () => wallMs, log: { info: () => undefined } },
      perform: async () => {
        await new Promise((soon) => setTimeout(soon, 5));
        done += 1;
        return 'done';
      },
    });
  const [one, other] = [agent(), agent()];
  const pathOf = (of: ActLinks): string => new URL(of.linkOf({ act: 'resume-gpu', node: 'n1' })?.url ?? '').pathname;
  const press = async (at: ActLinks, path: string) => at.path().answer({ path } as never);
  const [first, late, last] = [pathOf(one), pathOf(one), pathOf(one)];
  const pressed = await Promise.allSettled([press(one, first), press(one, first)]);
  expect([pressed.map(({ status }) => status).sort(), done]).toEqual([['fulfilled', 'rejected'], 1]);
  await expect(press(other, late)).rejects.toThrow('none of this agent');
  const [said = '', mark = ''] = late.slice('/n/'.length).split('.');
  const theirs = Buffer.from(said, 'base64url').toString().replace('n1', 'n2');
  for (const path of [
    `/n/${Buffer.from(theirs).toString('base64url')}.${mark}`,
    `/n/${said}`,
    `/n/${said}.`,
    '/n/__proto__',
  ])
    await expect(press(one, path)).rejects.toThrow('none of this agent');
  wallMs += 12 * 3_600_000;
  expect(await press(one, late)).toMatchObject({ status: 200 });
  wallMs += 1;
  await expect(press(one, last)).rejects.toThrow('too old');
  expect(done).toBe(2);
});

it('a machine makes a link about itself for the one that leads, and for nobody else', async () => {
  const buttons = { link: async ({ node }: { node: string }) => (node === 'kang' ? 'http://10.0.0.1:7118/n/x' : null) };
  const view = () => ({ state: { raft: { leader: { node: 'L' } } } });
  const ask = (from: string, node: string, of: object = buttons) =>
    answerTo(from, { kind: 'notice-link', act: { act: 'resume-gpu', node } }, { view, buttons: of } as never);
  expect(await ask('L', 'kang')).toEqual({ kind: 'notice-link', url: 'http://10.0.0.1:7118/n/x' });
  expect(await ask('L', 'desktop-1')).toEqual({ kind: 'notice-link', url: null });
  expect(await ask('L', 'kang', { link: null })).toEqual({ kind: 'notice-link', url: null });
  expect(await ask('M', 'kang')).toMatchObject({
    kind: 'refused',
    because: expect.stringContaining('only the machine that leads'),
  });
  expect(Ask.safeParse({ kind: 'notice-link', act: { act: 'reboot', node: 'kang' } }).success).toBe(false);
});
