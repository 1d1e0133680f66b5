// What no snapshot of another task's tree ever holds, whoever asks for it. Neither the source nor the consumer can
// change this list. A pattern stands for a file or a directory of that name in any folder, and for all below it: `*` is
// any characters, `a/b` is b in a folder a. How names are compared is in peering.ts.

export interface Exclude {
  pattern: string;
  reason: string;
}

const ENVIRONMENT = 'environment files hold passwords and keys';
const ASSISTANT = 'settings, sessions and keys of a coding agent';
const EDITOR =
  'settings of an editor may hold tokens, and may name commands that run when the folder is opened';
const CLOUD = 'credentials of a cloud account';
const REGISTRY = 'settings of a package manager hold tokens of its registry';
const DATABASE_LOGIN = 'a login of a database';
const GIT_LOGIN = 'git credentials, or the way to them';
const PRIVATE_KEY = 'a private key';
const KEY_STORE = 'a store of keys or passwords';
const CLUSTER = 'a login of a cluster';
const TERRAFORM = 'the state and the variables of terraform hold secrets in plain text';
const HOSTING = 'a login of a hosting service, or the variables of what is deployed there';
const CREDENTIALS = 'a file that is known to hold credentials';

export const EXCLUDES: readonly Exclude[] = [
  { pattern: '.git', reason: 'the repository itself: other branches, hooks, configuration and credentials' },
  { pattern: '.env*', reason: ENVIRONMENT },
  { pattern: '.envrc', reason: ENVIRONMENT },
  { pattern: '.openclaw', reason: ASSISTANT },
  { pattern: '.claude', reason: ASSISTANT },
  { pattern: '.codex', reason: ASSISTANT },
  { pattern: '.gemini', reason: ASSISTANT },
  { pattern: '.config', reason: "settings of a person's programs, with their logins" },
  { pattern: '.cursor', reason: EDITOR },
  { pattern: '.vscode', reason: EDITOR },
  { pattern: '.idea', reason: EDITOR },
  { pattern: '.docker', reason: 'logins of image registries' },
  { pattern: '.mcp.json', reason: 'commands and keys of tools that a coding agent starts' },
  { pattern: 'credentials.json', reason: CREDENTIALS },
  { pattern: 'service-account.json', reason: CLOUD },
  { pattern: 'auth.json', reason: CREDENTIALS },
  { pattern: 'secrets.yml', reason: CREDENTIALS },
  { pattern: 'secrets.yaml', reason: CREDENTIALS },
  { pattern: 'secrets.json', reason: CREDENTIALS },
  { pattern: '.npmrc', reason: REGISTRY },
  { pattern: '.yarnrc*', reason: REGISTRY },
  { pattern: '.pypirc', reason: REGISTRY },
  { pattern: '.netrc', reason: 'logins of servers' },
  { pattern: '.htpasswd', reason: 'password hashes of a web server' },
  { pattern: '.pgpass', reason: DATABASE_LOGIN },
  { pattern: '.my.cnf', reason: DATABASE_LOGIN },
  { pattern: '.git-credentials', reason: GIT_LOGIN },
  { pattern: '.gitconfig', reason: GIT_LOGIN },
  { pattern: '.ssh', reason: 'private keys, and the hosts they open' },
  { pattern: 'id_rsa*', reason: PRIVATE_KEY },
  { pattern: 'id_ed25519*', reason: PRIVATE_KEY },
  { pattern: 'id_ecdsa*', reason: PRIVATE_KEY },
  { pattern: '*.pem', reason: PRIVATE_KEY },
  { pattern: '*.key', reason: PRIVATE_KEY },
  { pattern: '*.p12', reason: KEY_STORE },
  { pattern: '*.pfx', reason: KEY_STORE },
  { pattern: '*.jks', reason: KEY_STORE },
  { pattern: '*.keystore', reason: KEY_STORE },
  { pattern: '*.kdbx', reason: KEY_STORE },
  { pattern: '*.ppk', reason: PRIVATE_KEY },
  { pattern: '*.asc', reason: 'an exported key' },
  { pattern: '.gnupg', reason: KEY_STORE },
  { pattern: '.aws', reason: CLOUD },
  { pattern: '.azure', reason: CLOUD },
  { pattern: '.gcloud', reason: CLOUD },
  { pattern: '.boto', reason: CLOUD },
  { pattern: '.s3cfg', reason: CLOUD },
  { pattern: '.kube', reason: CLUSTER },
  { pattern: 'kubeconfig*', reason: CLUSTER },
  { pattern: '.terraform', reason: TERRAFORM },
  { pattern: '*.tfstate*', reason: TERRAFORM },
  { pattern: '*.tfvars', reason: TERRAFORM },
  { pattern: '.vault-token', reason: 'a token that opens a vault' },
  { pattern: '.cargo/credentials*', reason: REGISTRY },
  { pattern: '.m2/settings.xml', reason: REGISTRY },
  { pattern: '.gradle/gradle.properties', reason: REGISTRY },
  { pattern: '.dockercfg', reason: 'logins of image registries' },
  { pattern: '.dev.vars', reason: HOSTING },
  { pattern: '.direnv', reason: ENVIRONMENT },
  { pattern: '.vercel', reason: HOSTING },
  { pattern: '.netlify', reason: HOSTING },
  { pattern: '.wrangler', reason: HOSTING },
  { pattern: '*.sqlite*', reason: 'a database, with whatever its users entered' },
  { pattern: '*.ovpn', reason: 'the key of a private network' },
  { pattern: '*_history', reason: 'commands as they were typed, with the passwords in them' },
  { pattern: 'core.*', reason: 'a dump of the memory of a process that crashed' },
  {
    pattern: 'node_modules',
    reason: 'made from the lockfile; large, and writable by every script of a package',
  },
  { pattern: '.shared', reason: 'what was shared with the other task is not passed on' },
];
