import { getEventListeners } from 'node:events';
import { expect, it } from 'vitest';
import { unless } from '../../node/cli/watching.ts';

it('a watch that looks for hours leaves nothing at its signal', async () => {
  const { signal } = new AbortController();
  for (let look = 0; look < 20; look++) expect(await unless(signal, Promise.resolve(look))).toBe(look);
  await expect(unless(signal, Promise.reject(new Error('away')))).rejects.toThrow('away');
  await new Promise((resolve) => setImmediate(resolve));
  expect(getEventListeners(signal, 'abort')).toHaveLength(0);
});

it('what takes too long is left when the signal comes', async () => {
  const over = new AbortController();
  const looking = unless(over.signal, new Promise(() => {}));
  over.abort();
  expect(await looking).toBeNull();
  expect(await unless(over.signal, new Promise(() => {}))).toBeNull();
});
