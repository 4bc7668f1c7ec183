import { describe, expect, it } from 'vitest';
import { slowGitlabLines, withOwnAttention } from '../../node/agent/own-attention.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';

const noQuorum = {
  code: 'no-quorum',
  severity: 'fail' as const,
  sentence: 'no quorum: desktop-2 or kang must come back',
  fix: 'only if they are switched off and stay so: autogit-node recover --force',
};
const status = (leader: StatusSnapshot['leader'] = null) =>
  ({ attention: leader ? [] : [noQuorum], nodes: [{}, {}, {}], leader }) as unknown as StatusSnapshot;
const cut = [
  'no LAN interface has an IPv4 address here, only loopback: plug in the cable or join the Wi-Fi (ip -br addr)',
];

describe('a machine whose cable is out', () => {
  it('says so first, and never advises recover --force', () => {
    const lines = withOwnAttention(status(), cut, []);
    expect(lines.map(({ code }) => code)).toEqual(['no-link', 'no-quorum']);
    expect(lines[0]).toMatchObject({
      severity: 'fail',
      sentence: expect.stringMatching(/^no LAN interface has an IPv4 address here, only loopback/),
      fix: expect.stringContaining('plug in the cable'),
    });
    expect(lines.map(({ fix }) => fix ?? '').join()).not.toContain('recover');
  });

  it('but not where a leader is heard, over a VPN, nor where the link is well', () => {
    expect(withOwnAttention(status({ node: 'kang', term: 1, since: '' }), cut, [])).toEqual([]);
    expect(withOwnAttention(status(), [], [])).toEqual([noQuorum]);
  });
});

describe('a GitLab that answers late', () => {
  it('is said by the median of the last five reads of its queue, and no more when it is well again', () => {
    expect(slowGitlabLines([1400, 1300, 90, 1500])).toEqual([]);
    expect(slowGitlabLines([80, 90, 5000, 90, 4000])).toEqual([]);
    expect(slowGitlabLines([1400, 1300, 90, 1500, 1600])).toMatchObject([
      { code: 'gitlab-slow', sentence: expect.stringMatching(/^GitLab answers slowly: it takes 1\.4 s/) },
    ]);
    expect(slowGitlabLines([1400, 1300, 1500, 1600, 1700, 90, 80, 70])).toEqual([]);
  });
});
