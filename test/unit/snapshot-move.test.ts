import { expect, it } from 'vitest';
import type { HostedMove } from '../../protocol/hosted-move.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { moveLines, moveView } from '../../scheduler/snapshot-move.ts';
import type { ViewInput } from '../../scheduler/snapshot-view.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

/** A planned move as every machine's status shows it. */
const at = (path: string) => ({ place: { kind: 'image' as const, path }, hostname: '10.0.0.1' });
const wish: HostedMove = { from: 'K', to: 'B', there: at('/b'), back: at('/a'), since: 1, because: 'asked' };
const founded = foundedMesh({ store: 's' });
const nodes = { K: { ...founded.nodes.K!, name: 'kang' }, B: { ...founded.nodes.K!, name: 'desktop-1' } };
const ledgerOf = (host: string, epoch: number, more: object): Ledger => ({
  ...{ ...founded, nodes },
  gitlab: { ...founded.gitlab, mode: 'hosted', host, epoch, hosted: { ...hostedGitlab(), ...more } },
});
const viewOf = (node: string, epoch: number, said: object): ViewInput =>
  ({
    wallMs: 5000,
    jobs: { reports: { [node]: { report: { gitlab: { data: hostedGitlab().data, epoch, ...said } } } } },
  }) as unknown as ViewInput;

it('while its host gets ready, and once the other machine starts it', () => {
  const here = viewOf('K', 3, { move: { phase: 'GitLab serves: it pulls the image', percent: 40 }, progress: null });
  const before = ledgerOf('K', 3, { move: wish });
  expect(moveView(here, before).move).toMatchObject({
    wish: { from: 'kang', to: 'desktop-1' },
    doing: { phase: 'GitLab serves: it pulls the image', percent: 40 },
    ended: null,
  });
  expect(moveLines(here, before)[0]?.sentence).toBe(
    'GitLab moves from kang to desktop-1: GitLab serves: it pulls the image (40 %)',
  );
  const there = viewOf('B', 4, { progress: { phase: 'boots', percent: 30 }, because: 'it boots' });
  expect(moveView(there, ledgerOf('B', 4, { move: wish })).move?.doing).toEqual({
    phase: 'all of it is on desktop-1, which starts it: boots',
    percent: 30,
  });
  // What was said of the epoch of before is not of now.
  expect(moveView(viewOf('K', 2, { move: { phase: 'x', percent: 1 } }), before).move?.doing).toBeNull();
});

it('how it ended: given up it is a warning for a day, with what tries it again', () => {
  const moved = { from: 'K', to: 'B', isDone: false, because: 'it does not come up', at: 1000 };
  const ledger = ledgerOf('K', 5, { moved });
  const view = viewOf('K', 5, {});
  expect(moveView(view, ledger).move?.ended).toMatchObject({ to: 'desktop-1', isDone: false });
  expect(moveLines(view, ledger)).toMatchObject([
    { severity: 'warn', fix: expect.stringContaining('autogit-node gitlab move desktop-1') },
  ]);
  expect(moveLines({ ...view, wallMs: 90_000_000 } as ViewInput, ledger)).toEqual([]);
  expect(moveLines(view, ledgerOf('K', 5, { moved: { ...moved, isDone: true } }))).toEqual([]);
  expect(moveView(view, ledgerOf('K', 5, {}))).toEqual({});
});
