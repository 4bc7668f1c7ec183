import { expect, test } from 'vitest';
import { omnibusConfig, omnibusEnv, rubyText } from '../../node/hosting/omnibus-config.ts';
import { presets } from '../../node/hosting/presets.ts';

test.each([
  ['plain', "'plain'"],
  ["it's", "'it\\'s'"],
  ['a\\', "'a\\\\'"],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: Ruby's, and no code there either
  ['#{`id`} ${x}', "'#{`id`} ${x}'"],
  ["'; system('id'); '", "'\\'; system(\\'id\\'); \\''"],
])('as Ruby, %s is no code', (text, quoted) => {
  expect(rubyText(text)).toBe(quoted);
});

const wish = { url: 'http://gitlab.lan:8080', sshPort: 2222 };

test('the small preset has the figures of the contract', () => {
  const lines = omnibusConfig({ ...wish, preset: presets.minimal }).split('\n');
  expect(lines).toContain("external_url 'http://gitlab.lan:8080'");
  for (const line of [
    "nginx['listen_port'] = 80",
    "nginx['proxy_protocol'] = true",
    "nginx['real_ip_trusted_addresses'] = ['0.0.0.0/0', '::/0']",
    "gitlab_rails['trusted_proxies'] = ['127.0.0.1/32', '::1/128']",
    "gitlab_rails['gitlab_shell_ssh_port'] = 2222",
    "puma['worker_processes'] = 0",
    "sidekiq['concurrency'] = 5",
    "postgresql['shared_buffers'] = '128MB'",
    "prometheus_monitoring['enable'] = false",
    "gitlab_kas['enable'] = false",
    "gitlab_rails['env'] = { 'MALLOC_CONF' => 'dirty_decay_ms:1000,muzzy_decay_ms:1000' }",
  ])
    expect(lines).toContain(line);
  expect(lines.join()).toContain("{ 'rpc' => '/gitaly.SmartHTTPService/PostReceivePack', 'max_per_repo' => 3 }");
});

test('each line is one that the image reads, in every preset', () => {
  for (const preset of Object.values(presets))
    for (const line of omnibusConfig({ ...wish, preset })
      .trim()
      .split('\n'))
      expect(line).toMatch(/^(external_url '|[a-z_]+\['[a-z_]+'\] = ).+$/);
});

test('without a port for ssh there is no sshd', () => {
  expect(omnibusEnv({ ...wish, sshPort: null, preset: presets.team })).toMatchObject({
    GITLAB_DISABLE_OPENSSH: 'true',
  });
  expect(omnibusEnv({ ...wish, preset: presets.team })).not.toHaveProperty('GITLAB_DISABLE_OPENSSH');
});

test('larger presets need and get more', () => {
  const order = (['minimal', 'homelab', 'team', 'beast'] as const).map((name) => presets[name]);
  for (const figure of ['leastMemoryBytes', 'leastDiskBytes', 'sidekiqConcurrency', 'sharedBuffersBytes'] as const) {
    const all = order.map((preset) => preset[figure]);
    expect(all).toEqual([...new Set(all)].sort((a, b) => a - b));
  }
  for (const preset of order)
    if (preset.memoryLimitBytes > 0) expect(preset.memoryLimitBytes).toBeGreaterThan(preset.leastMemoryBytes);
});
