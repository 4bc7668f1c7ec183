import { expect, it } from 'vitest';
import { ActLinks } from '../../node/notices/act-links.ts';
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
