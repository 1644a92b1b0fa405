// The two namespaces of this page. They share one connection, because they belong to the same server.

import { io } from 'socket.io-client';

export const SERVER = new URLSearchParams(location.search).get('server') ?? 'http://127.0.0.1:8080';

// A server with tokens needs `auth: { token }` here.
const options = { autoConnect: false };
const url = SERVER.replace(/\/$/, '');

export const dashboardSocket = io(`${url}/`, options);
export const entitySocket = io(`${url}/dashboard`, options);
