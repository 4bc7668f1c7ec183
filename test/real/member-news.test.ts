import { afterEach, describe, expect, it } from 'vitest';
import { endMembers, type LabMember, labMesh, settled } from './member-lab.ts';
import { endParties, until } from './network-party.ts';

/** What a page that is open hears of at once, and does not have to look for. */
afterEach(async () => {
  await endMembers();
  await endParties();
});

const watched = ({ running }: LabMember, what: 'nextNews' | 'nextCommit'): { isTold: boolean } => {
  const seen = { isTold: false };
  void running[what].wait(60_000, new AbortController().signal).then(() => {
    seen.isTold = true;
  });
  return seen;
};

describe('who watches a member', () => {
  it('is told as soon as a machine tells of itself, where nothing was decided', async () => {
    const all = await labMesh(['kang', 'desktop-1']);
    const leader = await settled(all);
    const other = all.find((one) => one !== leader) as LabMember;
    const [own, atOther, decided] = [
      watched(other, 'nextNews'),
      watched(leader, 'nextNews'),
      watched(other, 'nextCommit'),
    ];
    await other.running.measure();
    expect(own.isTold).toBe(true);
    await until(() => atOther.isTold, 'the other one has its report');
    expect(decided.isTold).toBe(false);
  });
});
