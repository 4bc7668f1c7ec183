import type { Fields, Log } from '../log.ts';
import type { MdnsDiscovery } from '../network/mdns-discovery.ts';
import type { NetworkLog } from '../network/network-log.ts';

/** The network says fields first, the log the sentence. */
export function networkLog(log: Log): NetworkLog {
  const line = (level: 'debug' | 'info' | 'warn' | 'error') => (fields: Record<string, unknown>, sentence: string) =>
    log[level](sentence, fields as Fields);
  return { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') };
}

/** The LAN is asked who is there before anything large is loaded: the answers come meanwhile. */
export async function openMdnsDiscovery(log: NetworkLog, listen: readonly string[]): Promise<MdnsDiscovery> {
  const { MdnsDiscovery } = await import('../network/mdns-discovery.ts');
  const mdns = new MdnsDiscovery(log, listen);
  await mdns.open();
  return mdns;
}
