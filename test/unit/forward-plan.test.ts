import { describe, expect, it } from 'vitest';
import { forwardDoorOf, forwardWord } from '../../node/hosting/forward/forward-files.ts';
import { doorsNow, forwardPlan, leftAfter } from '../../node/hosting/forward/forward-plan.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

const https = { mark: '0123456789abcdef' } as never;

/** K hosts GitLab, D and Z are others. */
function mesh(said: Partial<HostedGitlab> = {}, url: string | null = 'http://home.local'): Ledger {
  const ledger = foundedMesh({ store: 'store-K', wallMs: 0 });
  const { K } = ledger.nodes;
  const addresses = ['/ip4/127.0.0.1/tcp/7117', '/ip4/192.168.1.10/tcp/7117', '/ip6/2001:db8::10/tcp/7117'];
  const nodes = { K: { ...K!, addresses }, D: { ...K!, name: 'desktop-1' } };
  const hosted = hostedGitlab({ port: 80, sshPort: 2222, ...said });
  return { ...ledger, nodes, gitlab: { ...ledger.gitlab, mode: 'hosted', host: 'K', epoch: 3, url, hosted } };
}
const plan = (
  ledger: Ledger | null,
  connectedAt: string | null = '192.168.1.10:7117',
  self = 'D',
  own = ['192.168.1.11'],
) => forwardPlan({ self, ledger, connectedAt, own });

describe('what a machine forwards', () => {
  it('GitLab`s ports to its host, by where that is connected and then by what the mesh knows', () => {
    expect(plan(mesh())).toEqual({
      host: 'K',
      epoch: 3,
      doors: [
        { kind: 'http', port: 80 },
        { kind: 'ssh', port: 2222 },
      ],
      addresses: ['192.168.1.10', '2001:db8::10'],
    });
    expect(plan(mesh({ https, port: 443, sshPort: null, httpPort: 80 }))?.doors).toEqual([
      { kind: 'https', port: 443 },
      { kind: 'http', port: 80 },
    ]);
    expect(plan(mesh(), '[2001:db8::10]:7117')?.addresses).toEqual(['2001:db8::10', '192.168.1.10']);
    expect(plan(mesh(), null)?.addresses).toEqual(['192.168.1.10', '2001:db8::10']);
  });

  it('nothing where it hosts itself, where none stands or one ends, where it is no member, or beside the host`s own agent', () => {
    expect(plan(null)).toBeNull();
    expect(plan(foundedMesh({ store: 's', wallMs: 0 }))).toBeNull();
    expect(plan(mesh(), null, 'K')).toBeNull();
    expect(plan(mesh({}, null))).toBeNull();
    expect(
      plan(mesh({ ending: { since: 0, deleteData: false, now: false, force: false, drained: false } })),
    ).toBeNull();
    expect(plan(mesh(), null, 'Z')).toBeNull();
    expect(plan(mesh(), '127.0.0.1:7117')).toBeNull();
    expect(plan(mesh(), null, 'D', ['192.168.1.10', '2001:db8::10'])).toBeNull();
    expect(plan(mesh(), '192.168.1.10:7117', 'D', ['192.168.1.10'])).toBeNull();
  });

  it('its words are read as they were written, and others are none', () => {
    for (const word of ['http/80', 'https/443', 'ssh/2222']) expect(forwardWord(forwardDoorOf(word))).toBe(word);
    for (const word of ['http/0', 'http/65536', 'udp/53', 'http/80/81', ''])
      expect(() => forwardDoorOf(word)).toThrow();
  });
});

describe('ports that other programs have', () => {
  const doors = [
    { kind: 'http' as const, port: 80 },
    { kind: 'ssh' as const, port: 2222 },
  ];
  const at = (bootMs: number, bootId = 'b') => ({ bootId, bootMs });
  const ports = (left: Parameters<typeof doorsNow>[1], when: ReturnType<typeof at>): number[] =>
    doorsNow(doors, left, when).map(({ port }) => port);

  it('nothing is taken while a machine boots: what has it otherwise begins then', () => {
    expect(ports(null, at(89_999))).toEqual([]);
    expect(ports(null, at(90_000))).toEqual([80, 2222]);
  });

  it('a port that was another`s stays its own while that begins anew, and for ten minutes of the next boot', () => {
    const left = leftAfter(null, [80], at(1_000_000));
    expect(left).toEqual({ bootId: 'b', ports: [{ port: 80, takenAt: 1_000_000 }] });
    expect(ports(left, at(1_179_999))).toEqual([2222]);
    expect(ports(left, at(1_180_000))).toEqual([80, 2222]);
    expect(ports(left, at(599_999, 'c'))).toEqual([2222]);
    expect(ports(left, at(600_000, 'c'))).toEqual([80, 2222]);
  });

  it('what is taken still counts from now; what was another`s before the boot is not forgotten by it', () => {
    const left = leftAfter(null, [80], at(1_000_000));
    expect(leftAfter(left, [], at(2_000_000))).toBe(left);
    expect(leftAfter(left, [80], at(2_000_000))?.ports).toEqual([{ port: 80, takenAt: 2_000_000 }]);
    expect(leftAfter(left, [2222], at(200_000, 'c'))).toEqual({
      bootId: 'c',
      ports: [
        { port: 80, takenAt: 200_000 },
        { port: 2222, takenAt: 200_000 },
      ],
    });
  });
});
