import { expect, it, vi } from 'vitest';

vi.mock('../../node/starter/starter.ts', () => ({
  spawnAside: () => {
    throw new Error('the starter was begun');
  },
}));

it("the look at a machine's git, every ten minutes, does not begin the starter: an idle node has none", async () => {
  const { gitHere } = await import('../../node/runs/git-here.ts');
  expect(await gitHere.check()).toMatch(/^git version \d/);
});
