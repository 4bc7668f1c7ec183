import type { Preset } from './presets.ts';
import { hooksInside } from './push/push-hook.ts';
import { redisConfigCommand } from './redis-log.ts';

interface OmnibusWish {
  /** As people type it: scheme, host and port. */
  url: string;
  sshPort: number | null;
  preset: Preset;
  /** A file in the container, as long as which is there GitLab works nothing off by itself: no mail, no webhook, no job. */
  waitsFor?: string;
}

/** A Ruby string in which nothing is code: `#{}` and escapes mean nothing between single quotes. */
export const rubyText = (text: string): string => `'${text.replace(/[\\']/g, '\\$&')}'`;

type RubyValue = string | number | boolean | readonly RubyValue[] | { readonly [key: string]: RubyValue };

function ruby(value: RubyValue): string {
  if (typeof value === 'string') return rubyText(value);
  if (typeof value !== 'object') return String(value);
  if (Array.isArray(value)) return `[${value.map(ruby).join(', ')}]`;
  const pairs = Object.entries(value).map(([key, one]) => `${rubyText(key)} => ${ruby(one as RubyValue)}`);
  return `{ ${pairs.join(', ')} }`;
}

const megabytes = (bytes: number): string => `${Math.floor(bytes / 2 ** 20)}MB`;
const malloc = { MALLOC_CONF: 'dirty_decay_ms:1000,muzzy_decay_ms:1000' };

/** What the image evaluates before its gitlab.rb at every start; what a person writes there wins (contract §6). */
export function omnibusConfig({ url, sshPort, preset, waitsFor }: OmnibusWish): string {
  const isLean = preset.givesMemoryBack;
  const limit = preset.gitalyConcurrency;
  const call = (name: string) => ({ rpc: `/gitaly.${name}`, max_per_repo: limit ?? 0 });
  const lines: [string, RubyValue][] = [
    // Behind the gate it answers on port 80, whatever port people type; TLS is the gate's. Of an address of https omnibus tells Rails so all the same.
    ["nginx['listen_port']", 80],
    ["nginx['listen_https']", false],
    ["letsencrypt['enable']", false],
    // The gate says who the client is, and nobody else reaches nginx (SAFETY H1): the line is believed whoever brings it, and no header is.
    ["nginx['proxy_protocol']", true],
    ["nginx['real_ip_trusted_addresses']", ['0.0.0.0/0', '::/0']],
    ["nginx['real_ip_header']", 'proxy_protocol'],
    // Else omnibus takes the addresses above for those of proxies, and the last client in a chain of them for none.
    ["gitlab_rails['trusted_proxies']", ['127.0.0.1/32', '::1/128']],
    ...(sshPort === null ? [] : ([["gitlab_rails['gitlab_shell_ssh_port']", sshPort]] as [string, RubyValue][])),
    ["puma['worker_processes']", preset.pumaWorkers],
    ["sidekiq['concurrency']", preset.sidekiqConcurrency],
    ["postgresql['shared_buffers']", megabytes(preset.sharedBuffersBytes)],
    // Its least: after a freeze that ended by a kill the database is back soon.
    ["postgresql['checkpoint_timeout']", '30s'],
    // Beside its log of each write, and until that is begun: at most a minute of queued work is lost with the machine, not fifteen.
    ["redis['save']", ['60 1']],
    ["redis['extra_config_command']", redisConfigCommand],
    ["prometheus_monitoring['enable']", preset.hasMonitoring],
    ["gitlab_kas['enable']", preset.hasKas],
    ...(isLean ? ([["gitlab_rails['env']", malloc]] as [string, RubyValue][]) : []),
    ...(isLean ? ([["gitaly['env']", malloc]] as [string, RubyValue][]) : []),
    [
      "gitaly['configuration']",
      {
        // A push waits there for its round.
        hooks: { custom_hooks_dir: hooksInside },
        ...(limit !== null && {
          concurrency: [
            call('SmartHTTPService/PostReceivePack'),
            call('SSHService/SSHReceivePack'),
            call('SmartHTTPService/PostUploadPackWithSidechannel'),
            call('SSHService/SSHUploadPackWithSidechannel'),
          ],
        }),
      },
    ],
  ];
  const own = lines.map(([name, value]) => `${name} = ${ruby(value)}`);
  // Asked anew in each reconfigure.
  if (waitsFor !== undefined) own.push(`sidekiq['enable'] = !File.exist?(${rubyText(waitsFor)})`);
  return [`external_url ${rubyText(url)}`, ...own, ''].join('\n');
}

/** The environment of its container. No secret stands there: whoever may ask the engine reads it. */
export const omnibusEnv = (wish: OmnibusWish): Record<string, string> => ({
  GITLAB_OMNIBUS_CONFIG: omnibusConfig(wish),
  ...(wish.sshPort === null && { GITLAB_DISABLE_OPENSSH: 'true' }),
});
