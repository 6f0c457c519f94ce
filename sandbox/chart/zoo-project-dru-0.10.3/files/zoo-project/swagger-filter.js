stand-in: placeholder of swagger-filter.js
