import { describe, expect, it, test } from 'vitest';
import { againstGate, againstGateWords, fitForGate, otherUrlIn } from '../../node/hosting/gitlab-rb.ts';
import { omnibusConfig } from '../../node/hosting/omnibus-config.ts';
import { presets } from '../../node/hosting/presets.ts';

const url = 'http://gitlab.lan:8080';

/** As people's files are: https by GitLab itself, another port, much that concerns nobody. */
const ownHttps = `## GitLab configuration settings
# nginx['listen_port'] = 81
external_url 'https://git.example.org'
gitlab_rails['smtp_password'] = "s3cret; nginx"
nginx['redirect_http_to_https'] = true
nginx["listen_port"] = 8443 # behind the router
nginx['listen_https'] = true
letsencrypt['enable']=true
=begin
nginx['enable'] = false
=end
nginx['listen_addresses'] = [
  '192.168.1.5',
]
`;

describe('what of gitlab.rb goes against the gate', () => {
  it('each setting by its line, and what to write in its place', () => {
    expect(againstGate(ownHttps, url)).toEqual([
      { line: 6, said: "nginx['listen_port'] = 8443", instead: "nginx['listen_port'] = 80" },
      { line: 7, said: "nginx['listen_https'] = true", instead: "nginx['listen_https'] = false" },
      { line: 8, said: "letsencrypt['enable'] = true", instead: "letsencrypt['enable'] = false" },
      {
        line: 12,
        said: expect.stringMatching(/^nginx\['listen_addresses'\] = \[ '192\.168\.1\.5', \]$/),
        instead: "nginx['listen_addresses'] = ['*', '[::]']",
      },
    ]);
    expect(againstGateWords(againstGate(ownHttps, url))).toMatch(
      /^its config\/gitlab\.rb goes against its gate: line 6 \(nginx\['listen_port'\] = 8443\) must be nginx\['listen_port'\] = 80, /,
    );
  });

  it('what is written behind it ends that', () => {
    const fitted = ownHttps + fitForGate(againstGate(ownHttps, url), 'restored behind\na gate');
    expect(againstGate(fitted, url)).toEqual([]);
    expect(fitted).toContain('\n# autogit-node: restored behind a gate\n');
  });

  test.each([
    ['nothing', ''],
    ['the last of them counts', "nginx['listen_port'] = 8443\nnginx['listen_port'] = 80"],
    ['a proxy in front has https', "external_url 'https://git.example.org'\nnginx['listen_port'] = '80'"],
    ['all addresses', "nginx['listen_addresses'] = [\"0.0.0.0\", '[::]'] # all"],
    ['either of two that the gate meets', "nginx['proxy_protocol'] = true"],
    ['unset', "nginx['listen_address'] = nil"],
    ['what the mesh says itself', omnibusConfig({ url, sshPort: 2222, preset: presets.homelab })],
  ])('right is: %s', (_what, ruby) => {
    expect(againstGate(ruby, url)).toEqual([]);
    expect(againstGateWords(againstGate(ruby, url))).toBeNull();
  });

  test.each([
    ["nginx['enable'] = false"],
    ["nginx['listen_address'] = '127.0.0.1'"],
    ["nginx['listen_https'] = nil"],
    ["nginx[ 'listen_port' ] = ENV['PORT'].to_i"],
    ["a = 1; nginx['listen_port'] = 8080"],
    ["external_url 'https://example.org/gitlab'"],
  ])('wrong is: %s', (ruby) => {
    const wrong = againstGate(ruby, url);
    expect(wrong).toHaveLength(1);
    expect(againstGate(ruby + fitForGate(wrong, 'why'), url)).toEqual([]);
  });
});

test('where people reach it, as far as that is elsewhere', () => {
  expect(otherUrlIn(ownHttps, url)).toBe('https://git.example.org');
  expect(otherUrlIn(`external_url "${url}/"`, url)).toBeNull();
  expect(otherUrlIn('', url)).toBeNull();
});
