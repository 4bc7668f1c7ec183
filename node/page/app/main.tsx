import { render } from 'preact';
import { Live } from './live.ts';
import { Page } from './page.tsx';
import { PageStore } from './page-store.ts';

// From the bare address the door finds back to this session by it.
try {
  localStorage.setItem('autogit-page', location.pathname);
} catch {
  // No storage: its link is needed each time.
}

const store = new PageStore();
render(<Page store={store} />, document.getElementById('page') as HTMLElement);
new Live({ deliver: (news) => store.take(news), state: () => store.state }).start();
