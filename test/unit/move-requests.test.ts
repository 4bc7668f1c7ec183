import { describe, expect, it } from 'vitest';
import { MoveRequests } from '../../node/agent/move-requests.ts';
import type { Answer } from '../../protocol/asks.ts';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

/** GitLab on kang, reached by `hostname`, with a copy on desktop-1. */
function mesh(hostname: string): Ledger {
  const ledger = foundedMesh({ store: 'store-K', wallMs: 1 });
  const K = { ...ledger.nodes.K!, can: [...abilities] };
  const voters = Object.fromEntries(['K', 'D', 'E'].map((node) => [node, { store: `store-${node}`, weight: 2 }]));
  const set = { version: 1, members: ['D'], last: null, boot: 'b' };
  const copies = { agreed: ['D'], standbys: [{ node: 'D', because: 'asked' }], set, bases: {} };
  return {
    ...ledger,
    configuration: { voters, next: null } as unknown as Ledger['configuration'],
    nodes: { K, D: { ...K, name: 'desktop-1' }, E: { ...K, name: 'desktop-2' } },
    gitlab: {
      ...ledger.gitlab,
      ...{ mode: 'hosted', host: 'K', epoch: 4, url: `http://${hostname}:8080`, token: 't', instance: 'i' },
      hosted: hostedGitlab({ hostname, port: 8080, copies }),
    },
  };
}

const checked: Answer = {
  ...{ kind: 'move-checked', checks: [], awayMs: 240_000, address: '10.0.0.2' },
  place: { kind: 'image', path: '/srv/copies' },
};

function requests(hostname: string, answer: Answer = checked): MoveRequests {
  const lines = { self: 'K', ledger: () => mesh(hostname), nodeNamed: () => 'D', ask: async () => answer };
  return new MoveRequests(lines as unknown as ConstructorParameters<typeof MoveRequests>[0]);
}

describe('what is said of its address before GitLab moves', () => {
  const said = async (hostname: string) => {
    const { lines, isOtherUrl } = await requests(hostname).plan('desktop-1');
    return { isOtherUrl, line: lines.find(({ what }) => what === 'address') };
  };

  it('one by number changes with the machine', async () => {
    const { isOtherUrl, line } = await said('10.0.0.1');
    expect([isOtherUrl, line?.sentence]).toEqual([true, expect.stringContaining('it becomes http://10.0.0.2:8080')]);
  });

  it('a name of the owner stays, and serves on while it leads to any machine of the mesh: each hands on', async () => {
    const { isOtherUrl, line } = await said('git.example.org');
    expect([isOtherUrl, line?.sentence]).toEqual([
      false,
      "http://git.example.org:8080 stays GitLab's address: a machine of the mesh to which that name leads hands on to desktop-1 what comes there, while it runs",
    ]);
    expect(line?.fix).toBe(
      'when it has moved, have git.example.org lead to 10.0.0.2 too, or to several machines of the mesh',
    );
  });

  it("a machine's refusal points to what helps", async () => {
    const because = 'kang does not vote, and only a machine that does may ask for this: type it there';
    await expect(requests('10.0.0.1', { kind: 'refused', because }).plan('desktop-1')).rejects.toMatchObject({
      message: expect.stringContaining(because),
      hint: expect.stringContaining('autogit-node status -o wide'),
    });
  });
});
